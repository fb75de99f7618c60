"""Categories in another order than the ground truth's, and detections that all have one category."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lt_det.evaluation._arrays import Bools
from lt_det.evaluation.hints.sample import Sample, is_better
from lt_det.evaluation.matching.detections import Detections

_MIN_FRACTION = 0.8  # of the boxes of a category, which lie on objects of one other category
_MIN_BOXES = 3  # of such a category
_MIN_CLASSES = 2  # a detector may take one class for another
_MIN_NUMBER = 10  # boxes: fewer fit by chance
_MIN_GAIN = 1.5  # over another reading: an order that is off by one for most classes is called so
_SHOWN = 3


def class_order_hint(
    detections: Detections, names: Sequence[Any], noun: str, sample: Sample, near: Bools, otherwise: int
) -> str | None:
    """A sentence if the boxes of classes lie on the objects of other classes, one for each, or if all have one class.

    Args:
        detections: boxes, whose classes are all known.
        names: what the input calls each class: category ids, or class indices.
        noun: what these are: "category" or "class".
        sample: of the detections.
        near: (P,) pairs of the sample that overlap.
        otherwise: how many detections would have the right class in the best other reading of their ids.
    """
    predicted, target = (
        detections.classes[sample.detections][sample.pair[near]],
        sample.truth.classes[sample.target[near]],
    )
    total, right = sample.count(near), len(np.unique(sample.pair[near][predicted == target]))
    if total < _MIN_NUMBER or right > total / 2:
        return None
    if (detections.classes == detections.classes[0]).all():
        return (
            f"All detections have the {noun} {names[detections.classes[0]]}, but only {right} of {total} that overlap "
            f"an object have its {noun}; write the {noun} of each box (a detector without classes, or one that has "
            "hardly been trained, gets AP 0 in every other one)."
        )
    # Boxes of each class, and how many of them lie on objects of each class.
    classes = sample.truth.num_classes
    pairs = np.unique(np.stack([sample.pair[near], predicted, target]), axis=1)
    boxes = np.bincount(detections.classes[sample.detections[np.unique(sample.pair[near])]], minlength=classes)
    cells, counts = np.unique(pairs[1] * classes + pairs[2], return_counts=True)
    rows, columns = np.divmod(cells, classes)
    largest_of_row, largest_of_column = np.zeros(classes, np.int64), np.zeros(classes, np.int64)
    np.maximum.at(largest_of_row, rows, counts)
    np.maximum.at(largest_of_column, columns, counts)
    # Of all classes whose boxes lie on the most frequent objects, only the first may mean these: another order gives
    # each class one meaning, and a detector that is only bad gives many classes the same.
    moved = (counts == largest_of_row[rows]) & (counts == largest_of_column[columns]) & (rows != columns)
    moved &= (counts >= _MIN_FRACTION * boxes[rows]) & (counts >= _MIN_BOXES)
    rows, columns, counts = rows[moved], columns[moved], counts[moved]
    number = int(counts.sum())
    if len(rows) < _MIN_CLASSES or number < max(_MIN_NUMBER, _MIN_GAIN * otherwise):
        return None
    if not is_better(number, right, total):
        return None
    examples = ", ".join(
        f"{names[row]} on those of {names[column]}" for row, column in zip(rows[:_SHOWN], columns[:_SHOWN], strict=True)
    )
    more = ", ..." if len(rows) > _SHOWN else ""
    advice = {
        "category": "look up its class names, and write the ids that the ground truth gives these",
        "class": "predict class indices in the order of the dataset's thing_classes",
    }
    return (
        f"Of {total} detections that overlap an object, {right} have its {noun}, but the boxes of some lie nearly "
        f"always on objects of one other {noun} (those of {examples}{more}): the detector has its classes in another "
        f"order: {advice[noun]}."
    )
