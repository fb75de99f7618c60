"""The types and ranges of a config's values, held against the defaults.

yacs compares a value with the value that it replaces, but lets null replace anything and anything null, and looks at
nothing inside a list. Detectron2 then fails somewhere else, or trains with what it got.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from lt_det.errors import LtDetError
from lt_det.numbers import is_number
from lt_det.training.config_files.ranges import elements_problem, range_problem
from lt_det.training.config_files.types import element_kind, flat, is_of_kind, type_problem

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

# A user's own backbone may read MODEL.TIMM.
_WITHOUT_TIMM = (
    *("build_resnet_backbone", "build_resnet_fpn_backbone", "build_retinanet_resnet_fpn_backbone"),
    "build_mini_backbone",
)

# Parts of the config, and when the network has them; the keys of others are left alone.
_PARTS: dict[str, Callable[[Any], bool]] = {
    "MODEL.RETINANET": lambda model: "RetinaNet" in str(model.META_ARCHITECTURE),
    "MODEL.SEM_SEG_HEAD": lambda model: str(model.META_ARCHITECTURE) in ("PanopticFPN", "SemanticSegmentor"),
    "MODEL.PANOPTIC_FPN": lambda model: model.META_ARCHITECTURE == "PanopticFPN",
    "MODEL.ROI_MASK_HEAD": lambda model: bool(model.MASK_ON),
    "MODEL.ROI_KEYPOINT_HEAD": lambda model: bool(model.KEYPOINT_ON),
    "MODEL.ROI_BOX_CASCADE_HEAD": lambda model: "Cascade" in str(model.ROI_HEADS.NAME),
    "MODEL.TIMM": lambda model: str(model.BACKBONE.NAME) not in _WITHOUT_TIMM,
    "MODEL.FPN": lambda model: "fpn" in str(model.BACKBONE.NAME),
}

Problem = tuple[str, Any, str]  # key, value, and what to write instead

LOSSES = "MODEL.LONG_TAIL.LOSS."  # a section for each loss


def check_values(cfg: Any, defaults: Any, place_of: Callable[[str], str]) -> None:
    """Check each value of a config against the default of its key.

    Args:
        cfg: what a file and overrides make of the defaults.
        defaults: the config before.
        place_of: where a key is written, for messages: its file, or the command line.

    Raises:
        LtDetError: null, a value or an element of a list with another type, a number that is NaN, infinite or out
            of range, a name that is no choice; the message names the key, and the file or the command line.
    """
    refuse(_problems(cfg, defaults, cfg, ""), place_of)


def refuse(problems: Iterable[Problem], place_of: Callable[[str], str]) -> None:
    """
    Args:
        problems: keys, values, and what to write instead.
        place_of: see `check_values`.

    Raises:
        LtDetError: there is a problem; the message names the first.
    """
    for key, value, problem in problems:
        end = "" if problem.endswith("?") else "."
        raise LtDetError(f"{place_of(key)}: {key} is {'null' if value is None else repr(value):.120}; {problem}{end}")


def _problems(node: Any, defaults: Mapping[str, Any], cfg: Any, above: str) -> Iterator[Problem]:
    """Keys, values, and what to write instead."""
    for key, default in defaults.items():
        path = f"{above}{key}"
        if key not in node or not is_used(path, cfg):
            continue
        if isinstance(default, Mapping):
            yield from _problems(node[key], default, cfg, f"{path}.")
        elif (problem := _problem(path, node[key], default, cfg)) is not None:
            yield path, node[key], problem


def is_used(path: str, cfg: Any) -> bool:
    """Whether a section or key belongs to a part of the network, and for a loss, to the configured one."""
    if path.startswith(LOSSES):
        name = path.split(".")[3]
        return name == "NAME" or name == str(cfg.MODEL.LONG_TAIL.LOSS.NAME).upper()
    return path not in _PARTS or _PARTS[path](cfg.MODEL)


def _problem(path: str, value: Any, default: Any, cfg: Any) -> str | None:
    """What to write instead of a value; None if it is right."""
    if value is None:
        if default is None or path in _NULL_IS_EMPTY:
            return None
        if isinstance(default, bool):
            return "write True or False"
        is_empty = default in ("", (), [])
        return f"write a value, or {default!r} for none" if is_empty else f"write a value, such as {default!r}"
    if path in _NUMBER_OR_NULL and not is_number(value):
        return "write a number"
    if default is None:
        return "write a number" if isinstance(value, float) and math.isnan(value) else None
    if isinstance(default, list | tuple):
        return _problem_of_list(path, value, default)
    if problem := type_problem(path, value, default):
        return problem
    if isinstance(value, float) and not _is_usable(value, default, path):
        return "write a number"
    return range_problem(path, value, cfg)


def _problem_of_list(path: str, value: Any, default: Any) -> str | None:
    if problem := type_problem(path, value, default):
        return problem
    kind = element_kind(path, default)
    nested = any(isinstance(element, list | tuple) for element in default)
    elements = list(flat(value) if nested else value)
    for element in elements:
        if kind is not None and not is_of_kind(element, kind):
            return f"its element {element!r:.40} must be {kind}"
    return elements_problem(path, value, elements)


def _is_usable(value: float, default: float, path: str) -> bool:
    """Not NaN, and in a loss not infinite; elsewhere infinity can be meant, as in CLIP_GRADIENTS.NORM_TYPE."""
    return math.isfinite(value) or (math.isinf(value) and (not path.startswith(LOSSES) or math.isinf(default)))
