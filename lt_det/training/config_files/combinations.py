"""Keys of a config whose values must fit each other: Detectron2 fails without naming them, or trains on nonsense."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

from lt_det.training.config_files.key_paths import value_at
from lt_det.training.config_files.values import Problem, refuse

_CASCADES = ("CascadeROIHeads", "LongTailCascadeROIHeads")  # a user's own may read the keys otherwise
_WITH_ANCHORS = ("GeneralizedRCNN", "ProposalNetwork", "PanopticFPN", "RetinaNet")
_ANCHORS = {
    "DefaultAnchorGenerator": ("SIZES", "ASPECT_RATIOS"),
    "RotatedAnchorGenerator": ("SIZES", "ASPECT_RATIOS", "ANGLES"),
}
_FPNS = ("build_resnet_fpn_backbone", "build_retinanet_resnet_fpn_backbone", "build_timm_fpn_backbone")
_GROUPS = 32  # of Detectron2's "GN"


def check_combinations(cfg: Any, place_of: Callable[[str], str]) -> None:
    """
    Args:
        cfg: with all overrides, whose values have the right types, see `check_values`.
        place_of: where a key is written, for messages: its file, or the command line.

    Raises:
        LtDetError: values do not fit each other; the message names a key, and the file or the command line.
    """
    parts = (_of_matchers, _of_cascade, _of_input, _of_anchors, _of_group_norm)
    refuse(chain.from_iterable(part(cfg) for part in parts), place_of)


def _of_matchers(cfg: Any) -> Iterator[Problem]:
    """Thresholds without a label for each range between them, and labels that are none or the wrong way round."""
    for section in ("RETINANET",) if cfg.MODEL.META_ARCHITECTURE == "RetinaNet" else ("ROI_HEADS", "RPN"):
        thresholds, labels = cfg.MODEL[section].IOU_THRESHOLDS, cfg.MODEL[section].IOU_LABELS
        decided = [label for label in labels if label != -1]
        advice = ""
        if len(labels) != len(thresholds) + 1:
            advice = (
                f"write {len(thresholds) + 1} labels (0 negative, -1 ignored, 1 positive), one more than "
                f"IOU_THRESHOLDS {list(thresholds)} has numbers"
            )
        elif not set(labels) <= {-1, 0, 1}:
            advice = "write 0 for negative, -1 for ignored and 1 for positive"
        elif decided != sorted(decided) or labels[-1] != 1:
            advice = (
                "write the labels from the lowest to the highest IoU, so that the last is 1 (positive), such as "
                f"{[0] + [-1] * (len(labels) - 2) + [1]}"
            )
        if advice:
            yield f"MODEL.{section}.IOU_LABELS", labels, advice


def _of_cascade(cfg: Any) -> Iterator[Problem]:
    if cfg.MODEL.ROI_HEADS.NAME not in _CASCADES:
        return
    cascade, first = cfg.MODEL.ROI_BOX_CASCADE_HEAD, cfg.MODEL.ROI_HEADS.IOU_THRESHOLDS
    if len(cascade.IOUS) != len(cascade.BBOX_REG_WEIGHTS):
        yield (
            "MODEL.ROI_BOX_CASCADE_HEAD.IOUS",
            cascade.IOUS,
            f"write one threshold per stage, or give BBOX_REG_WEIGHTS, which is for {len(cascade.BBOX_REG_WEIGHTS)} "
            "stages, one group of weights for each",
        )
    elif cascade.IOUS and first and cascade.IOUS[0] != first[0]:
        yield (
            "MODEL.ROI_HEADS.IOU_THRESHOLDS",
            first,
            f"write [{cascade.IOUS[0]}], the threshold of the first stage in MODEL.ROI_BOX_CASCADE_HEAD.IOUS, or "
            "change both",
        )
    if not cfg.MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG:
        yield (
            "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG",
            False,
            f"set it to True, because {cfg.MODEL.ROI_HEADS.NAME} predicts the same box for all classes",
        )


def _of_input(cfg: Any) -> Iterator[Problem]:
    sizes = list(cfg.INPUT.MIN_SIZE_TRAIN)
    if cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING == "range" and (len(sizes) != 2 or sizes != sorted(sizes)):
        yield (
            "INPUT.MIN_SIZE_TRAIN",
            cfg.INPUT.MIN_SIZE_TRAIN,
            f"write two sizes, the smallest and the largest, such as [{min(sizes)}, {max(sizes)}], or set "
            "INPUT.MIN_SIZE_TRAIN_SAMPLING to choice",
        )
    crop, key = cfg.INPUT.CROP, "INPUT.CROP.SIZE"
    if not crop.ENABLED:
        return
    size = list(crop.SIZE)
    if len(size) != 2:
        yield key, crop.SIZE, "write two numbers"
    elif crop.TYPE.startswith("relative") and not all(0 <= part <= 1 for part in size):
        yield (
            key,
            crop.SIZE,
            f"with INPUT.CROP.TYPE {crop.TYPE}, write two fractions of the image, 0 to 1; for pixels, set TYPE to "
            "absolute or absolute_range",
        )
    elif crop.TYPE.startswith("absolute") and not all(_is_pixels(part) for part in size):
        yield (
            key,
            crop.SIZE,
            f"with INPUT.CROP.TYPE {crop.TYPE}, write two whole numbers of pixels; for fractions of the image, set "
            "TYPE to relative or relative_range",
        )
    elif crop.TYPE == "absolute_range" and size[0] > size[1]:
        yield key, crop.SIZE, "with INPUT.CROP.TYPE absolute_range, write the smallest size before the largest"


def _of_anchors(cfg: Any) -> Iterator[Problem]:
    """One list of sizes, ratios (and angles) for all features or one for each, with the same number of anchors."""
    model = cfg.MODEL
    section = "RETINANET" if model.META_ARCHITECTURE == "RetinaNet" else "RPN"
    if model.META_ARCHITECTURE not in _WITH_ANCHORS or model.ANCHOR_GENERATOR.NAME not in _ANCHORS:
        return
    if section == "RPN" and model.PROPOSAL_GENERATOR.NAME not in ("RPN", "RRPN"):
        return
    features = list(model[section].IN_FEATURES)
    uneven = []  # two such keys can still make the same number of anchors everywhere
    for key in _ANCHORS[model.ANCHOR_GENERATOR.NAME]:
        lists = [part for part in model.ANCHOR_GENERATOR[key] if isinstance(part, list | tuple)]
        if len(lists) > 1 and len(lists) != len(features):
            yield (
                f"MODEL.ANCHOR_GENERATOR.{key}",
                model.ANCHOR_GENERATOR[key],
                f"write one list for all features, or {len(features)}, one for each feature of "
                f"MODEL.{section}.IN_FEATURES {features}",
            )
        if len({len(part) for part in lists}) > 1:
            uneven.append(key)
    if len(uneven) == 1:
        yield (
            f"MODEL.ANCHOR_GENERATOR.{uneven[0]}",
            model.ANCHOR_GENERATOR[uneven[0]],
            "write as many numbers for each feature, because the network has one head for all of them",
        )


def _of_group_norm(cfg: Any) -> Iterator[Problem]:
    """Numbers of channels that Detectron2's group normalization cannot divide into 32 groups."""
    model = cfg.MODEL
    has_fpn, has_heads = model.BACKBONE.NAME in _FPNS, model.META_ARCHITECTURE in ("GeneralizedRCNN", "PanopticFPN")
    normalized = {
        ("FPN.NORM", "FPN.OUT_CHANNELS"): has_fpn,
        ("RETINANET.NORM", "FPN.OUT_CHANNELS"): has_fpn and model.META_ARCHITECTURE == "RetinaNet",
        ("SEM_SEG_HEAD.NORM", "SEM_SEG_HEAD.CONVS_DIM"): (
            model.META_ARCHITECTURE in ("PanopticFPN", "SemanticSegmentor")
            and model.SEM_SEG_HEAD.NAME == "SemSegFPNHead"
        ),
        ("ROI_BOX_HEAD.NORM", "ROI_BOX_HEAD.CONV_DIM"): (
            has_heads and model.ROI_BOX_HEAD.NAME == "FastRCNNConvFCHead" and model.ROI_BOX_HEAD.NUM_CONV > 0
        ),
        ("ROI_MASK_HEAD.NORM", "ROI_MASK_HEAD.CONV_DIM"): (
            has_heads and model.MASK_ON and model.ROI_MASK_HEAD.NAME == "MaskRCNNConvUpsampleHead"
        ),
    }
    for (norm, channels), is_used in normalized.items():
        number = value_at(model, channels)
        if is_used and value_at(model, norm) == "GN" and number % _GROUPS:
            yield (
                f"MODEL.{channels}",
                number,
                f"write a multiple of {_GROUPS}, such as {-(-number // _GROUPS) * _GROUPS}, because MODEL.{norm} is GN",
            )


def _is_pixels(size: Any) -> bool:
    return isinstance(size, int) and size >= 1
