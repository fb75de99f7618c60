"""Which numbers and names a key of a config may have, beyond the type of its default.

Detectron2 checks few of them: with others, it trains and learns or detects nothing, or fails without naming the key.
What only looks unusual, such as non-maximum suppression at 1 (none), is allowed.
"""

from __future__ import annotations

import math
from typing import Any

from lt_det.errors import did_you_mean

MAX_SEED = 2**32 - 2**16  # NumPy's generator takes 32 bits, and each process adds its number

_AT_LEAST = {
    "SOLVER.MAX_ITER": 1,
    "SOLVER.IMS_PER_BATCH": 1,
    "SOLVER.CHECKPOINT_PERIOD": 1,
    "SOLVER.BASE_LR": 0,
    "SOLVER.WARMUP_ITERS": 0,
    "SOLVER.WARMUP_FACTOR": 0,
    "SOLVER.WEIGHT_DECAY": 0,
    "SOLVER.MOMENTUM": 0,
    "SOLVER.GAMMA": 0,
    "SOLVER.REFERENCE_WORLD_SIZE": 0,
    "DATALOADER.NUM_WORKERS": 0,
    "TEST.RESAMPLES": 0,
    "TEST.BUCKETS.EQUAL_GROUPS": 0,
    "INPUT.MAX_SIZE_TRAIN": 1,
    "INPUT.MAX_SIZE_TEST": 1,
    "INPUT.MIN_SIZE_TEST": 0,  # 0: images keep their size
    "MODEL.ROI_HEADS.NUM_CLASSES": 1,
    "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": 1,
    "MODEL.ROI_HEADS.POSITIVE_FRACTION": 0,
    "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": 1,
    "MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_WEIGHT": 0,
    "MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION": 1,
    "MODEL.RPN.BATCH_SIZE_PER_IMAGE": 1,
    "MODEL.RPN.POSITIVE_FRACTION": 0,
    "MODEL.ROI_HEADS.NMS_THRESH_TEST": 0,
    "MODEL.RETINANET.NMS_THRESH_TEST": 0,
    "MODEL.RPN.NMS_THRESH": 0,
    "MODEL.RPN.LOSS_WEIGHT": 0,
    "MODEL.RPN.BBOX_REG_LOSS_WEIGHT": 0,
    "MODEL.RPN.PRE_NMS_TOPK_TRAIN": 1,
    "MODEL.RPN.PRE_NMS_TOPK_TEST": 1,
    "MODEL.RPN.POST_NMS_TOPK_TRAIN": 1,
    "MODEL.RPN.POST_NMS_TOPK_TEST": 1,
}
_AT_MOST = {
    "SEED": MAX_SEED,
    "SOLVER.GAMMA": 1,
    "SOLVER.WARMUP_FACTOR": 1,
    "MODEL.ROI_HEADS.POSITIVE_FRACTION": 1,
    "MODEL.RPN.POSITIVE_FRACTION": 1,
    "MODEL.ROI_HEADS.NMS_THRESH_TEST": 1,
    "MODEL.RETINANET.NMS_THRESH_TEST": 1,
    "MODEL.RPN.NMS_THRESH": 1,
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 1,  # 1: no detections
    "MODEL.RETINANET.SCORE_THRESH_TEST": 1,
}
# Negative scores and counts are allowed: they stand for all detections.
_BELOW = {"SOLVER.MOMENTUM": 1}

_IOUS = (
    *("MODEL.ROI_HEADS.IOU_THRESHOLDS", "MODEL.RPN.IOU_THRESHOLDS", "MODEL.RETINANET.IOU_THRESHOLDS"),
    "MODEL.ROI_BOX_CASCADE_HEAD.IOUS",
)
_POSITIVE_ELEMENTS = (
    *("SOLVER.STEPS", "MODEL.ANCHOR_GENERATOR.SIZES", "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS", "MODEL.PIXEL_STD"),
    *("MODEL.RPN.BBOX_REG_WEIGHTS", "MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS", "MODEL.RETINANET.BBOX_REG_WEIGHTS"),
    *("MODEL.ROI_BOX_CASCADE_HEAD.BBOX_REG_WEIGHTS", *_IOUS),
)
_NOT_NEGATIVE_ELEMENTS = ("INPUT.MIN_SIZE_TRAIN", "TEST.AUG.MIN_SIZES")  # 0: images keep their size
_NOT_EMPTY = ("INPUT.MIN_SIZE_TRAIN", "MODEL.ANCHOR_GENERATOR.SIZES", "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS")

_CHOICES = {
    "INPUT.CROP.TYPE": ("relative_range", "relative", "absolute", "absolute_range"),
    "INPUT.MASK_FORMAT": ("polygon", "bitmask"),
    "INPUT.MIN_SIZE_TRAIN_SAMPLING": ("choice", "range"),
    "INPUT.RANDOM_FLIP": ("horizontal", "vertical", "none"),
}
_FORMATS = ("BGR", "RGB", "L", "YUV-BT.601", "HSV", "LAB", "YCbCr")  # of INPUT.FORMAT; a user's mapper may have others


def range_problem(path: str, value: Any, cfg: Any) -> str | None:
    """What to write instead of a number or a string of the right type; None if it is possible, or not used."""
    least, most, below = _AT_LEAST.get(path), _AT_MOST.get(path), _BELOW.get(path)
    if least is not None and not least <= value < math.inf:
        return f"write a number of at least {least}"
    if most is not None and not value <= most:
        return f"write a number of at most {most}"
    if below is not None and not value < below:
        return f"write a number below {below}"
    if path == "TEST.DETECTIONS_PER_IMAGE" and value == 0:
        return "write how many detections to keep in an image, or -1 for all"
    if path == "SOLVER.CLIP_GRADIENTS.CLIP_VALUE" and cfg.SOLVER.CLIP_GRADIENTS.ENABLED and not value > 0:
        return "write a number above 0, or set SOLVER.CLIP_GRADIENTS.ENABLED to False"
    if path == "INPUT.FORMAT" and value not in _FORMATS:
        return next((f"write {name}" for name in _FORMATS if name.lower() == value.lower()), None)
    if path in _CHOICES and value not in _CHOICES[path] and (path != "INPUT.CROP.TYPE" or cfg.INPUT.CROP.ENABLED):
        return f"write {_listed(_CHOICES[path])}{did_you_mean(value, _CHOICES[path])}".removesuffix(".")
    return None


def elements_problem(path: str, value: Any, elements: list[Any]) -> str | None:
    """As `range_problem`, for a list with elements of the right type.

    Args:
        value: the list.
        elements: those of lists within it, too.
    """
    if not value and path in _NOT_EMPTY:
        return "write at least one"
    for element in elements:
        if path in _POSITIVE_ELEMENTS and element <= 0:
            return f"its element {element} must be above 0"
        if path in _NOT_NEGATIVE_ELEMENTS and element < 0:
            return f"its element {element} must be 0 or above"
        if path in _IOUS and element > 1:
            return f"its element {element} must be at most 1, an intersection over union"
    if path.endswith(".IOU_THRESHOLDS") and elements != sorted(elements):
        return "write ascending numbers"
    return None


def _listed(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"
