"""Whether a classifier was trained for the classes of the data: weights have no names, and rows of others fit, too."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from lt_det.data.class_counts import CACHE_NAME
from lt_det.errors import LtDetError
from lt_det.statistics.class_stats import ClassStats

logger = logging.getLogger(__name__)

_DATA_KEY = "training_data"  # in checkpoints, of the fingerprint of the data
_LVIS_NAMES = {"horned_cow": "bull"}  # Detectron2's metadata of LVIS v1 have a synonym, its annotations the name


@dataclass(frozen=True)
class OtherClasses:
    """How the classes that weights were trained for differ from as many classes of the data.

    Attributes:
        difference: as part of a sentence.
        moved: whether a class of the weights is in the data in another place. Then the classifier is wrong for it;
            otherwise classes may only have been renamed.
    """

    difference: str
    moved: bool


def other_classes(checkpoint: Mapping[str, Any], path: str, classes: Sequence[str]) -> OtherClasses | None:
    """None if the classes are the same, or unknown, or of another number, which the shapes of weights show.

    Args:
        checkpoint: with the names of its training data, if it is one of lt_det; otherwise those of the counts that
            training saves beside it are used.
        path: of the checkpoint.
        classes: names of the classes of the data; empty if unknown.
    """
    now = [_LVIS_NAMES.get(name, name) for name in classes]
    then, where = _recorded(checkpoint, path) if now else ([], "")
    if len(then) != len(now) or then == now:
        return None
    places, unique = {name: k for k, name in enumerate(then)}, _unique(then) & _unique(now)
    moved = any(places[name] != k for k, name in enumerate(now) if name in unique)
    first = next(k for k, (old, new) in enumerate(zip(then, now, strict=True)) if old != new)
    order = ", the same names in another order" if sorted(then) == sorted(now) else ""
    count = sum(old != new for old, new in zip(then, now, strict=True))
    return OtherClasses(
        f"class {first} is '{now[first]}' in the data and '{then[first]}' in {where} ({count} of {len(now)} differ"
        f"{order})",
        moved,
    )


def refuse_moved_classes(other: OtherClasses | None, path: str) -> None:
    """For a classifier that is used as it is: warn of classes with other names, which may only have been renamed.

    Args:
        other: see `other_classes`.
        path: of the weights.

    Raises:
        LtDetError: classes are in other places, so that scores would count for the wrong ones.
    """
    if other is None:
        return
    if other.moved:
        raise LtDetError(
            f"The weights {path} were trained for other classes than those of the data: {other.difference}, so that "
            "their detections would have wrong classes; use data with the classes that they were trained for, in the "
            "same order of category ids."
        )
    logger.warning(
        f"The weights {path} were trained for classes with other names than those of the data: {other.difference}. If "
        "classes were only renamed, all is well; otherwise all results are of the wrong classes."
    )


def keeps_classifier(model: nn.Module, incompatible: Any) -> bool:
    """Whether a classifier of boxes was loaded, in any network of Detectron2.

    Args:
        incompatible: what `_load_model` of Detectron2's checkpointer returned.
    """
    not_loaded = {*incompatible.missing_keys, *(name for name, *_ in incompatible.incorrect_shapes)}
    return any("cls_score." in name and name not in not_loaded for name in model.state_dict())


def _unique(names: Sequence[str]) -> set[str]:
    return {name for name, count in Counter(names).items() if count == 1}


def _recorded(checkpoint: Mapping[str, Any], path: str) -> tuple[list[str], str]:
    """Names of the classes that weights were trained for, and where they are recorded; empty if they are not."""
    data = checkpoint.get(_DATA_KEY)
    names = data.get("classes") if isinstance(data, Mapping) else None
    where = "the checkpoint"
    if not isinstance(names, list) and "://" not in path:
        file = Path(path.partition("?")[0]).with_name(CACHE_NAME)
        try:
            stats = ClassStats.read_saved(file)
        except LtDetError:
            stats = None
        names, where = (list(stats.names), str(file)) if stats else (None, "")
    return [_LVIS_NAMES.get(name, name) for name in map(str, names or [])], where
