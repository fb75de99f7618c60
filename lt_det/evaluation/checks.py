"""Unusual ground truth and detections are counted and logged, and then evaluated as the official tools do."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lt_det.errors import LtDetError
from lt_det.evaluation.context import EvaluationContext
from lt_det.evaluation.io.ground_truth_input import Annotations
from lt_det.evaluation.matching.detections import Detections
from lt_det.evaluation.matching.ground_truth import GroundTruth
from lt_det.evaluation.protocols import Task
from lt_det.statistics.bucket_advice import one_bucket_advice
from lt_det.statistics.buckets import FrequencyBuckets
from lt_det.statistics.class_stats import ClassStats
from lt_det.terminal import count_of, warn_once

logger = logging.getLogger(__name__)

_MIN_FRACTION_EMPTY = 0.1  # of the images with objects: a detector hardly leaves so many without a detection
_MIN_FRACTION_REFUSED = 0.1  # of the objects: from here on, boxes instead of masks make a meaningless mask AP
_MIN_NUMBER_REFUSED = 3
_MIN_FRACTION_OTHER = 0.02  # of the classes: objects that training drops move a few of LVIS's across an edge
_MIN_NUMBER_OTHER = 3
_PASS_TRAIN = "pass train (command line: --train-stats)"


def check_segmentations(annotations: Annotations) -> None:
    """Warn if some objects have no segmentation; mask AP against their boxes would be too low.

    Raises:
        LtDetError: no object has a segmentation, or 10 % or more of them, and three or more, have none.
    """
    objects = annotations.data["annotations"]
    without = sum(not annotation.get("segmentation") for annotation in objects)
    if without and without == len(objects):
        raise LtDetError(f"{annotations.name} has no 'segmentation' to evaluate masks with; evaluate bbox only.")
    if without >= max(_MIN_FRACTION_REFUSED * len(objects), _MIN_NUMBER_REFUSED):
        raise LtDetError(
            f"{without} of {len(objects)} objects of {annotations.name} have no 'segmentation', and their boxes would "
            "stand for their masks; evaluate bbox only, or a json of the images whose objects have masks."
        )
    if without:
        logger.warning("%d of %d objects have no segmentation; their boxes are used instead.", without, len(objects))


def warn_of_missing_buckets(buckets: FrequencyBuckets, asked_for: bool, name: str) -> None:
    """Log how many classes are in no bucket.

    Args:
        buckets: of all classes.
        asked_for: whether the user asked for these buckets.
        name: of the ground truth.
    """
    total = len(buckets.assignment)
    missing = int((buckets.assignment < 0).sum())
    if missing and asked_for:
        logger.warning("%d of %d classes of %s are in no bucket of the map.", missing, total, name)
    elif missing == total:
        logger.warning(
            "%s has no frequency field; every bucket is n/a without the training set: %s.", name, _PASS_TRAIN
        )
    elif missing:
        logger.warning(
            "%d of %d classes of %s are in no bucket, because they have no frequency field: %s.",
            missing,
            total,
            name,
            _PASS_TRAIN,
        )


def warn_of_own_counts(ground_truth: Any, train: Any) -> None:
    """Log if the counts that define the buckets are those of the ground truth.

    Args:
        ground_truth, train: as the user has given them: paths or the content of files.
    """
    try:
        is_same = train is ground_truth or os.path.samefile(train, ground_truth)
    except (TypeError, OSError):  # not two paths
        return
    if is_same:
        logger.warning(
            "The training set is the ground truth itself, so the buckets come from the counts of the evaluated "
            "objects, which is right only for a detector that was trained on them; otherwise name its training set: "
            "%s.",
            _PASS_TRAIN,
        )


def warn_of_unused_counts(categories: Sequence[Mapping[str, Any]], stats: ClassStats | None, name: str) -> None:
    """Log if the ``frequency`` of the categories, which defines the buckets, does not fit the training set.

    Once in a process: a training evaluates many times.

    Args:
        categories: of the ground truth, in class order.
        stats: counts of the training set; None if they are not known.
        name: of the ground truth.
    """
    letters = [str(category.get("frequency")) for category in categories]
    if stats is None or not set(letters) <= {"r", "c", "f"}:
        return
    counted = FrequencyBuckets.from_edges(stats)
    other = sum(
        bucket < 0 or counted.names[bucket][0] != letter
        for bucket, letter in zip(counted.assignment.tolist(), letters, strict=True)
    )
    if other >= max(_MIN_FRACTION_OTHER * len(letters), _MIN_NUMBER_OTHER):
        warn_once(
            logger,
            f"The 'frequency' of the categories of {name} defines the buckets, but {other} of {len(letters)} classes "
            f"are in another one by their images in {stats.source}; to use these counts, write the edges 10 100 "
            "(--edges, buckets, TEST.BUCKETS.EDGES).",
        )


def warn_of_one_bucket(buckets: FrequencyBuckets, stats: ClassStats | None) -> None:
    """Log the sentence of `one_bucket_advice`, once in a process: a training evaluates many times."""
    advice = one_bucket_advice(buckets, stats)
    if advice:
        warn_once(logger, advice)


def warn_of_objects(context: EvaluationContext) -> None:
    """Log if there is nothing to find, or if no detector could find all objects within the protocol's limit."""
    protocol, objects, to_find = context.protocol, context.objects, context.to_find[:, 0]
    if not to_find.any():
        flag, flags = ("ignore", objects.ignore) if protocol.federated else ("iscrowd", objects.crowd)
        flagged = f"of its {count_of(len(to_find), 'object')}, {int(flags.sum())} have '{flag}'"
        logger.warning(
            "The ground truth has no object to find, and every AP is n/a: %s.",
            flagged if len(to_find) else "it has no annotations",
        )
    limit = protocol.max_dets
    if limit is None:
        return
    images = np.repeat(np.arange(context.num_images), np.diff(objects.start))[to_find]
    classes = objects.classes[to_find]
    if protocol.per_image is not None:
        groups, holder, what = images, "image", "objects"
    elif protocol.per_image_and_class is not None:
        groups, holder, what = images * context.num_classes + classes, "image", "objects of a class"
    else:
        groups, holder, what = classes, "class", "objects"
    found, counts = np.unique(groups, return_counts=True)
    beyond = np.maximum(counts - limit, 0)
    if beyond.any():
        full = found[beyond > 0]
        if protocol.per_image_and_class is not None:
            full = np.unique(full // context.num_classes)
        logger.warning(
            "There are more %s than the limit of %d %s in %s (up to %d): %d of %d objects cannot be found. Raise the "
            "limit with max_dets (--max-dets, TEST.MAX_DETS); the numbers are then no longer those of the %s protocol.",
            what,
            limit,
            protocol.limited,
            count_of(len(full), holder),
            int(counts.max()),
            int(beyond.sum()),
            int(counts.sum()),
            protocol.name,
        )


def warn_of_full_images(context: EvaluationContext, limit: int) -> None:
    """Log if images hold more objects than the model may detect in one.

    Args:
        context: of all images of the set.
        limit: TEST.DETECTIONS_PER_IMAGE; below 0 for no limit.
    """
    images = np.repeat(np.arange(context.num_images), np.diff(context.objects.start))[context.to_find[:, 0]]
    counts = np.bincount(images, minlength=context.num_images)
    if 0 <= limit < counts.max(initial=0):
        logger.warning(
            "%d of %d images hold more objects than the %d detections per image that the model may make (up to %d); "
            "raise TEST.DETECTIONS_PER_IMAGE.",
            int((counts > limit).sum()),
            context.num_images,
            limit,
            int(counts.max()),
        )


def check_predictions(detections: Detections, truth: GroundTruth) -> None:
    """Check what a model predicts in one image.

    Raises:
        LtDetError: a class index that the dataset lacks, or a box or score that is infinite or NaN.
    """
    foreign = (detections.classes < 0) | (detections.classes >= truth.num_classes)
    finite = np.isfinite(detections.scores) & np.isfinite(detections.boxes).all(axis=1)
    if not foreign.any() and finite.all():
        return
    image_id = truth.image_ids[detections.images[0]]
    if foreign.any():
        raise LtDetError(
            f"The model predicts the class {detections.classes[foreign][0]} in image {image_id}, but the dataset has "
            f"the classes 0 to {truth.num_classes - 1}; evaluate a model of these classes, and leave out background."
        )
    raise LtDetError(
        f"{int((~finite).sum())} of {len(finite)} boxes or scores that the model predicts in image {image_id} are "
        "infinite or NaN; check its weights, and evaluate it in float32."
    )


def count_unusual_detections(detections: Detections, truth: GroundTruth, task: Task) -> Counter[str]:
    """How many detections are empty, do not fit their image or occur twice, by shape and what is unusual."""
    unusual: Counter[str] = Counter()
    if task == "bbox":
        empty = (detections.boxes[:, 2:] <= 0).any(axis=1)
        unusual["box without width or height: no object can match"] = int(empty.sum())
    elif detections.masks:
        sizes = np.asarray([mask["size"] for mask in detections.masks])
        other = (sizes != truth.sizes[detections.images]).any(axis=1)
        unusual["mask of another size than the image: no object can match"] = int(other.sum())
    shape = "box" if task == "bbox" else "mask"
    unusual[f"{shape} equal to another one, with the same image, class and score"] = num_duplicates(detections)
    return unusual


def warn_of_unusual_detections(unusual: Counter[str]) -> None:
    """Log what `count_unusual_detections` counted."""
    for kind, number in unusual.items():
        if number:
            shape, _, rest = kind.partition(" ")
            logger.warning("There are unusual detections: %s %s.", count_of(number, shape), rest)


def warn_of_empty_images(detections: Detections, truth: GroundTruth) -> None:
    """Log if there are no detections, or none in many images: such images count as images where nothing is found."""
    if not len(detections):
        logger.warning("There are no detections: the AP of every class with objects is 0.")
        return
    with_objects = np.diff(truth.start) > 0
    with_detections = np.zeros(len(with_objects), dtype=np.bool_)
    with_detections[detections.images] = True
    without, total = int((with_objects & ~with_detections).sum()), int(with_objects.sum())
    if without and without >= _MIN_FRACTION_EMPTY * total:
        logger.warning(
            "%d of %d images with objects have no detection; are these the images that were predicted on?",
            without,
            total,
        )


def num_duplicates(detections: Detections) -> int:
    """How many detections are equal to an earlier one. Sorts a hash, which is faster than sorting seven columns."""
    columns = [detections.images, detections.classes, detections.scores, *detections.boxes.T]
    if detections.masks is not None:
        # A str and its bytes have the same hash; two different masks collide in one of 2**64 cases.
        columns.append(np.asarray([hash(mask["counts"]) for mask in detections.masks], dtype=np.int64))
    mixed = np.zeros(len(detections), dtype=np.uint64)
    for column in columns:
        mixed ^= (column.astype(np.float64) + 0.0).view(np.uint64)  # -0.0 becomes 0.0
        mixed *= np.uint64(0x9E3779B97F4A7C15)  # an odd number without a pattern in its bits
        mixed ^= mixed >> np.uint64(32)
    order = np.argsort(mixed)
    before, after = order[:-1], order[1:]
    same_hash = mixed[before] == mixed[after]
    before, after = before[same_hash], after[same_hash]
    return int(np.logical_and.reduce([column[before] == column[after] for column in columns]).sum())
