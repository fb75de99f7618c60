"""Settings that train and evaluate without an error, but that cost accuracy or time on this training set."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog

from lt_det.doctor.finding import Finding
from lt_det.statistics.buckets import LVIS_EDGES
from lt_det.statistics.class_stats import ClassStats
from lt_det.terminal import count_of

_MANY_EPOCHS, _USUAL_EPOCHS = 200, 50
_FEW = 1000  # iterations: fewer are too few for the smallest set, see `lt_det.starting_config.schedule`
_LONG = 2000  # iterations, after which a first evaluation comes late
_EVALUATIONS = 10  # in a training
_HIGH_THRESHOLD, _LOW_THRESHOLD = 0.05, 0.0001  # Detectron2's default; that of LVIS configs, with some margin
_LVIS_DETECTIONS = 300  # per image, of the lvis protocol
_MANY_CLASSES = 2000  # more than LVIS, whose published detectors have boxes and masks for each class
_BYTES = 4  # of a float32
_OTHER_SCALE = 1.5  # between training and test: objects are then of sizes that the detector has hardly seen


def hints(cfg: Any, stats: ClassStats) -> Iterator[Finding]:
    """
    Args:
        cfg: of a training.
        stats: class counts of its training set.
    """
    yield from _epochs(cfg, stats)
    yield from _evaluations(cfg)
    yield from _detections(cfg, stats)
    yield from _class_specific_outputs(cfg)
    yield from _image_sizes(cfg)


def _epochs(cfg: Any, stats: ClassStats) -> Iterator[Finding]:
    iterations, batch, images = cfg.SOLVER.MAX_ITER, cfg.SOLVER.IMS_PER_BATCH, stats.num_images
    decoupled = cfg.MODEL.LONG_TAIL.SECOND_STAGE.METHOD  # the classifier alone learns within less
    if not (iterations and images and batch):
        return
    epochs = iterations * batch / images
    taken = f"{count_of(iterations, 'iteration')} of {count_of(batch, 'image')}"
    found = f"{taken} are {epochs:.3g} epochs of {count_of(images, 'image')}"
    if epochs >= _MANY_EPOCHS and iterations > _FEW:
        usual = max(1, round(_USUAL_EPOCHS * images / batch))
        advice = (
            f"lower SOLVER.MAX_ITER and SOLVER.STEPS, unless this is intended: {_USUAL_EPOCHS} epochs are "
            f"{count_of(usual, 'iteration')}"
        )
        yield Finding("schedule", found, advice)
    elif epochs < 1 and not decoupled:
        one = -(-images // batch)
        yield Finding(
            "schedule", found, f"raise SOLVER.MAX_ITER and SOLVER.STEPS: one epoch is {count_of(one, 'iteration')}"
        )


def _evaluations(cfg: Any) -> Iterator[Finding]:
    period, iterations = cfg.TEST.EVAL_PERIOD, cfg.SOLVER.MAX_ITER
    if cfg.DATASETS.TEST and iterations >= _LONG and not 0 < period < iterations:
        found = f"TEST.EVAL_PERIOD is {period}: the only evaluation comes after {iterations} iterations"
        yield Finding(
            "evaluation", found, f"set it to {iterations // _EVALUATIONS}, for example, to follow AP during training"
        )


def _detections(cfg: Any, stats: ClassStats) -> Iterator[Finding]:
    threshold, limit = cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST, cfg.TEST.DETECTIONS_PER_IMAGE
    rare = int((stats.image_counts <= LVIS_EDGES[0]).sum())
    found, advice = [], []
    if rare and threshold >= _HIGH_THRESHOLD:
        found.append(f"SCORE_THRESH_TEST {threshold:g}")
        advice.append(
            f"set MODEL.ROI_HEADS.SCORE_THRESH_TEST to {_LOW_THRESHOLD:g}: detections of rare classes (up to "
            f"{LVIS_EDGES[0]} training images: {rare} of {stats.num_classes}) have low scores, and the evaluation does "
            "not see those below the threshold"
        )
    if limit < _LVIS_DETECTIONS and any(map(_is_federated, cfg.DATASETS.TEST)):
        found.append(f"DETECTIONS_PER_IMAGE {limit}")
        advice.append(f"set TEST.DETECTIONS_PER_IMAGE to {_LVIS_DETECTIONS}, as many as the lvis protocol counts")
    if found:
        yield Finding("detections", ", ".join(found), "; ".join(advice))


def _class_specific_outputs(cfg: Any) -> Iterator[Finding]:
    """Boxes and masks that are predicted for each of thousands of classes; docs/scale.md has measurements."""
    num_classes, rois = cfg.MODEL.ROI_HEADS.NUM_CLASSES, cfg.MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE
    if num_classes < _MANY_CLASSES:
        return
    found, advice = [], []
    if not cfg.MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG:
        found.append("CLS_AGNOSTIC_BBOX_REG False")
        boxes = rois * 4 * num_classes * _BYTES
        advice.append(f"set MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG to True (boxes for each class: {_size(boxes)})")
    if cfg.MODEL.MASK_ON and not cfg.MODEL.ROI_MASK_HEAD.CLS_AGNOSTIC_MASK:
        found.append("CLS_AGNOSTIC_MASK False")
        foreground = int(rois * cfg.MODEL.ROI_HEADS.POSITIVE_FRACTION)
        masks = foreground * num_classes * (2 * cfg.MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION) ** 2 * _BYTES
        advice.append(f"set MODEL.ROI_MASK_HEAD.CLS_AGNOSTIC_MASK to True (masks for each class: {_size(masks)})")
    if found:
        rest = (
            "these sizes are per training image, and the gradient takes as much again; classes with few objects cannot "
            "learn boxes or masks of their own"
        )
        yield Finding("box head", ", ".join(found), f"{' and '.join(advice)}; {rest}")


def _image_sizes(cfg: Any) -> Iterator[Finding]:
    """Sizes of which one limits the other, and test images at another scale than those of training."""
    sizes = cfg.INPUT
    train, test = sorted(sizes.MIN_SIZE_TRAIN), sizes.MIN_SIZE_TEST
    for split, shortest in (("TRAIN", train[0]), ("TEST", test)):
        longest = sizes[f"MAX_SIZE_{split}"]
        if shortest > longest:
            yield Finding(
                "images",
                f"INPUT.MIN_SIZE_{split} {shortest} is above MAX_SIZE_{split} {longest}, so that it has no effect",
                f"raise MAX_SIZE_{split}, unless images are to be resized by their longer edge alone",
            )
    if not (train[0] and test) or sizes.CROP.ENABLED:  # 0: images keep their size; a crop is enlarged
        return
    smallest, largest = (min(edge, sizes.MAX_SIZE_TRAIN) for edge in (train[0], train[-1]))
    tested = min(test, sizes.MAX_SIZE_TEST)
    if not smallest / _OTHER_SCALE <= tested <= largest * _OTHER_SCALE:
        trained = f"{smallest} to {largest}" if smallest < largest else f"{largest}"
        yield Finding(
            "images",
            f"the shorter edge is {trained} pixels in training, but {tested} in the evaluation",
            f"set INPUT.MIN_SIZE_TEST to {largest}, for example: a detector finds objects at the scale at which it has "
            "learned them",
        )


def _size(num_bytes: float) -> str:
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.0f} MB"


def _is_federated(name: str) -> bool:
    return name in DatasetCatalog and MetadataCatalog.get(name).get("evaluator_type") == "lvis"
