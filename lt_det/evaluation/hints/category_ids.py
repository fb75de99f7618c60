"""Category ids that are class indices, or off by one, or those of other categories."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lt_det.evaluation._arrays import Ints
from lt_det.evaluation.hints.class_order import class_order_hint
from lt_det.evaluation.hints.id_readings import ADVICE, id_readings
from lt_det.evaluation.hints.sample import Sample, is_better
from lt_det.evaluation.matching.detections import Detections

# Classes of which detections are right in the other reading: a detector that knows one class only is no hint. Indices
# come from a network, and a weak one may confuse two classes.
_MIN_CLASSES, _MIN_INDICES = 2, 3


def category_hint(detections: Detections, category_ids: Sequence[Any] | None, sample: Sample) -> str | None:
    """A sentence if the classes of detections fit another reading of their ids better.

    Args:
        detections: boxes, whose ids are all known.
        category_ids: of the ground truth, in class order; None where the detections have class indices.
        sample: of the detections, with boxes as x, y, width, height.
    """
    are_indices = category_ids is None
    if category_ids is None:
        category_ids = range(sample.truth.num_classes)
    if not len(sample):
        return None
    near = sample.overlaps(sample.boxes)
    readings = id_readings(category_ids) if all(type(id_) is int for id_ in category_ids) else {}
    classes, target = detections.classes[sample.detections][sample.pair], sample.truth.classes[sample.target]
    total, as_written = sample.count(near), sample.count(near & (classes == target))
    index = {id_: k for k, id_ in enumerate(category_ids)}
    best, best_words = 0, ""
    wanted = _MIN_INDICES if are_indices else _MIN_CLASSES
    for words, meaning in readings.items():
        read: Ints = np.asarray([index.get(meaning(id_), -1) for id_ in category_ids], dtype=np.int64)
        right = near & (read[classes] == target)
        if sample.count(right) > best and len(np.unique(classes[right])) >= wanted:
            best, best_words = sample.count(right), words
    noun = "class" if are_indices else "category"
    if hint := class_order_hint(detections, category_ids, noun, sample, near, best):
        return hint
    if not is_better(best, as_written, total):
        return None
    if are_indices:
        return (
            f"Of {total} detections that overlap an object, {as_written} have its class, but {best} would have it if "
            f"their classes were {best_words.replace('category ids', 'class indices')}; predict class indices from 0 "
            f"to {len(category_ids) - 1}, in the order of the dataset's thing_classes."
        )
    return (
        f"Of {total} detections that overlap an object, {as_written} have its category, but {best} would have it if "
        f"their ids were {best_words}; {ADVICE}."
    )
