"""The types and ranges of a config's values, held against the defaults.

yacs compares a value with the value that it replaces, but lets null replace anything and anything null, and looks at
nothing inside a list. Detectron2 then fails somewhere else, or trains with what it got.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from lt_det.errors import LtDetError

# What lists hold whose default is empty, and whole numbers, which a default does not show.
_TEXT, _NUMBER, _WHOLE = "a text", "a number", "a whole number"
_ELEMENTS = {
    "DATASETS.TRAIN": _TEXT,
    "DATASETS.TEST": _TEXT,
    "DATASETS.PROPOSAL_FILES_TRAIN": _TEXT,
    "DATASETS.PROPOSAL_FILES_TEST": _TEXT,
    "MODEL.FPN.IN_FEATURES": _TEXT,
    "TEST.BUCKETS.NAMES": _TEXT,
    "TEST.KEYPOINT_OKS_SIGMAS": _NUMBER,
    "SOLVER.STEPS": _WHOLE,
    "INPUT.MIN_SIZE_TRAIN": _WHOLE,
    "TEST.AUG.MIN_SIZES": _WHOLE,
    "TEST.BUCKETS.EDGES": _WHOLE,
    "MODEL.RPN.IOU_LABELS": _WHOLE,
    "MODEL.RPN.CONV_DIMS": _WHOLE,
    "MODEL.ROI_HEADS.IOU_LABELS": _WHOLE,
}

# Keys for which null means none, as "" or [] does.
_NULL_IS_EMPTY = (
    "MODEL.LONG_TAIL.CLASS_STATS",
    "MODEL.LONG_TAIL.CALIBRATION.DATA",
    "MODEL.LONG_TAIL.LOSS.FOCAL.ALPHA",
    "TEST.BUCKETS.MAP",
    "TEST.BUCKETS.NAMES",
    "TEST.BUCKETS.EQUAL_GROUPS",
    "WANDB_PROJECT",
    "MODEL.FPN.NORM",
    "MODEL.RESNETS.NORM",
    "MODEL.ROI_BOX_HEAD.NORM",
    "MODEL.ROI_MASK_HEAD.NORM",
    "MODEL.RETINANET.NORM",
    "MODEL.SEM_SEG_HEAD.NORM",
)

# Numbers whose default is null, which stays possible.
_NUMBER_OR_NULL = ("MODEL.LONG_TAIL.COSINE_SCALE", "SOLVER.WEIGHT_DECAY_BIAS")

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
    "MODEL.RPN.LOSS_WEIGHT": 0,
    "MODEL.RPN.BBOX_REG_LOSS_WEIGHT": 0,
    "MODEL.RPN.PRE_NMS_TOPK_TRAIN": 1,
    "MODEL.RPN.PRE_NMS_TOPK_TEST": 1,
    "MODEL.RPN.POST_NMS_TOPK_TRAIN": 1,
    "MODEL.RPN.POST_NMS_TOPK_TEST": 1,
}
_POSITIVE_ELEMENTS = ("SOLVER.STEPS", "MODEL.ANCHOR_GENERATOR.SIZES", "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS")
_NOT_NEGATIVE_ELEMENTS = ("INPUT.MIN_SIZE_TRAIN", "TEST.AUG.MIN_SIZES")  # 0: images keep their size
_NOT_EMPTY = ("INPUT.MIN_SIZE_TRAIN", "MODEL.ANCHOR_GENERATOR.SIZES", "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS")

# Parts of the config, and when the network has them; the keys of others are left alone.
_PARTS: dict[str, Callable[[Any], bool]] = {
    "MODEL.RETINANET": lambda model: "RetinaNet" in str(model.META_ARCHITECTURE),
    "MODEL.SEM_SEG_HEAD": lambda model: str(model.META_ARCHITECTURE) in ("PanopticFPN", "SemanticSegmentor"),
    "MODEL.PANOPTIC_FPN": lambda model: model.META_ARCHITECTURE == "PanopticFPN",
    "MODEL.ROI_MASK_HEAD": lambda model: bool(model.MASK_ON),
    "MODEL.ROI_KEYPOINT_HEAD": lambda model: bool(model.KEYPOINT_ON),
    "MODEL.ROI_BOX_CASCADE_HEAD": lambda model: "Cascade" in str(model.ROI_HEADS.NAME),
    "MODEL.FPN": lambda model: "fpn" in str(model.BACKBONE.NAME),
}

LOSSES = "MODEL.LONG_TAIL.LOSS."  # a section for each loss


def check_sections(content: Mapping[str, Any], defaults: Mapping[str, Any], place: str, above: str = "") -> None:
    """Raise where a value stands for a section, such as ``SOLVER:`` without anything below it.

    Args:
        content: keys of a file, or of an override, before they are merged.
        defaults: the config to merge them into.
        place: file or command line, for messages.
        above: keys above `content`, with a dot at the end.
    """
    version = content.get("VERSION", 2)
    if not above and type(version) is not int:
        raise LtDetError(f"{place}: VERSION is {version!r:.80}; write VERSION: 2.")
    for key, value in content.items():
        default = defaults.get(key)
        if not isinstance(default, Mapping):
            continue
        if not isinstance(value, Mapping):
            raise LtDetError(
                f"{place}: {above}{key} is {'null' if value is None else repr(value):.80}, but it is a section of the "
                "config; write its keys and their values below it, or remove it."
            )
        check_sections(value, default, place, f"{above}{key}.")


def check_values(cfg: Any, defaults: Any, file: str, overridden: Collection[str] = ()) -> None:
    """Check each value of a config against the default of its key.

    Args:
        cfg: what a file and overrides make of the defaults.
        defaults: the config before.
        file: for messages.
        overridden: keys from the command line.

    Raises:
        LtDetError: null, a value or an element of a list with another type, a number that is NaN, infinite or too
            small; the message names the key, and the file or the command line.
    """
    for key, value, problem in _problems(cfg, defaults, cfg, ""):
        given = any(key == name or key.startswith(f"{name}.") for name in overridden)
        place = "Override on the command line" if given else file
        shown = "null" if value is None else repr(value)
        raise LtDetError(f"{place}: {key} is {shown:.120}; {problem}.")


def _problems(node: Any, defaults: Mapping[str, Any], cfg: Any, above: str) -> Iterator[tuple[str, Any, str]]:
    """Keys, values, and what to write instead."""
    for key, default in defaults.items():
        path = f"{above}{key}"
        if key not in node or not is_used(path, cfg):
            continue
        if isinstance(default, Mapping):
            yield from _problems(node[key], default, cfg, f"{path}.")
        elif (problem := _problem(path, node[key], default)) is not None:
            yield path, node[key], problem


def is_used(path: str, cfg: Any) -> bool:
    """Whether a section or key belongs to a part of the network, and for a loss, to the configured one."""
    if path.startswith(LOSSES):
        name = path.split(".")[3]
        return name == "NAME" or name == str(cfg.MODEL.LONG_TAIL.LOSS.NAME).upper()
    return path not in _PARTS or _PARTS[path](cfg.MODEL)


def _problem(path: str, value: Any, default: Any) -> str | None:
    """What to write instead of a value; None if it is right."""
    if value is None:
        if default is None or path in _NULL_IS_EMPTY:
            return None
        return (
            f"write a value, or {default!r} for none"
            if default in ("", (), [])
            else f"write a value, such as {default!r}"
        )
    if path in _NUMBER_OR_NULL and not _is_number(value):
        return "write a number"
    if default is None:
        return "write a number" if isinstance(value, float) and math.isnan(value) else None
    if isinstance(default, list | tuple):
        return _problem_of_list(path, value, default)
    if type(value) is not type(default):
        return f"write a value like {default!r}, of the same type"
    if isinstance(value, float) and math.isnan(value):
        return "write a number"
    least = _AT_LEAST.get(path)
    if least is not None and not least <= value < math.inf:
        return f"write a number of at least {least}"
    return None


def _problem_of_list(path: str, value: Any, default: Any) -> str | None:
    if not isinstance(value, list | tuple):
        return f"write a list, such as {default!r}"
    if not value and path in _NOT_EMPTY:
        return "write at least one"
    kind = _ELEMENTS.get(path) or next((_kind(element) for element in _flat(default)), None)
    if kind is None:  # TEST.EXPECTED_RESULTS, whose elements are lists of texts and numbers
        return None
    nested = any(isinstance(element, list | tuple) for element in default)
    for element in _flat(value) if nested else value:
        right = {
            _TEXT: isinstance(element, str),
            _WHOLE: _is_number(element) and float(element).is_integer(),
            _NUMBER: _is_number(element),
        }
        if not right.get(kind, isinstance(element, bool)):
            return f"its element {element!r:.40} must be {kind}"
        if path in _POSITIVE_ELEMENTS and element <= 0:
            return f"its element {element} must be above 0"
        if path in _NOT_NEGATIVE_ELEMENTS and element < 0:
            return f"its element {element} must be 0 or above"
    return None


def _flat(values: Any) -> Iterator[Any]:
    for value in values:
        if isinstance(value, list | tuple):
            yield from _flat(value)
        else:
            yield value


def _kind(element: Any) -> str:
    if isinstance(element, bool):
        return "True or False"
    return _TEXT if isinstance(element, str) else _NUMBER


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
