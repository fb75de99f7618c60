"""Category ids that are class indices, or off by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lt_det.evaluation._arrays import Ints
from lt_det.evaluation.hints.sample import Sample, is_better

if TYPE_CHECKING:
    from lt_det.evaluation.matching.detections import Detections

_MIN_CLASSES = 2  # of which detections are right in the other reading: a detector that knows one class only is no hint

_ADVICE = "write the ids that the ground truth gives its categories"


def _readings(known: Sequence[int]) -> dict[str, Callable[[int], int | None]]:
    """What an id may stand for, by the words for it; the functions return the category id, or None."""
    ids, first = set(known), sorted(known)
    return {
        "one below the category ids": lambda id_: id_ + 1 if id_ + 1 in ids else None,
        "one above the category ids": lambda id_: id_ - 1 if id_ - 1 in ids else None,
        f"class indices, 0 to {len(first) - 1}": lambda id_: first[id_] if 0 <= id_ < len(first) else None,
        f"class numbers, 1 to {len(first)}": lambda id_: first[id_ - 1] if 1 <= id_ <= len(first) else None,
    }


def unknown_ids_hint(found: Sequence[Any], known: Sequence[Any]) -> str:
    """A sentence if category ids of which some are unknown all have another meaning; else empty.

    Args:
        found: ids of the detections.
        known: ids of the ground truth.
    """
    distinct = set(found)
    if not all(type(id_) is int for id_ in (*distinct, *known)):
        return ""
    # Indices first: ids that are one below 1, 2, 3, ... are indices, too, which says more.
    readings = list(_readings(known).items())
    for words, meaning in (*readings[2:], *readings[:2]):
        if all(meaning(id_) is not None for id_ in distinct):
            return f" All of them ({min(distinct)} to {max(distinct)}) could be {words}: {_ADVICE}."
    return ""


def category_hint(detections: Detections, category_ids: Sequence[Any], sample: Sample) -> str | None:
    """A sentence if the classes of detections fit another reading of their ids better.

    Args:
        detections: boxes, whose ids are all known.
        category_ids: of the ground truth, in class order.
        sample: of the detections, with boxes as x, y, width, height.
    """
    if not all(type(id_) is int for id_ in category_ids) or not len(sample):
        return None
    near = sample.overlaps(sample.boxes)
    classes, target = detections.classes[sample.detections][sample.pair], sample.truth.classes[sample.target]
    total, as_written = sample.count(near), sample.count(near & (classes == target))
    index = {id_: k for k, id_ in enumerate(category_ids)}
    for words, meaning in _readings(category_ids).items():
        read: Ints = np.asarray([index.get(meaning(id_), -1) for id_ in category_ids], dtype=np.int64)
        right = near & (read[classes] == target)
        num_classes = len(np.unique(classes[right]))
        if is_better(sample.count(right), as_written, total) and num_classes >= _MIN_CLASSES:
            return (
                f"Of {total} detections that overlap an object, {as_written} have its category, but "
                f"{sample.count(right)} would have it if their ids were {words}; {_ADVICE}."
            )
    return None
