"""Boxes in the pixels of a resized image: the factor between them and the objects is the same in every image."""

from __future__ import annotations

import numpy as np

from lt_det.evaluation._arrays import Floats
from lt_det.evaluation.hints.sample import Sample, is_better

_MIN_FRACTION = 0.25  # of the sample that must fit: of all factors, one fits some of the boxes by chance
_BIN = 0.05  # of the logarithm of a factor, when factors are counted
_SPREAD = 0.35  # largest difference between the factors of a pair's x, y, width and height, as logarithms
_BIAS = 0.1  # largest difference between their medians, in which the errors of single boxes cancel
_UNCHANGED = 0.1  # boxes that are this much larger or smaller are bad, not resized


def resized_hint(sample: Sample, boxes: Floats, as_written: int, shapes: str = "boxes") -> str | None:
    """A sentence if boxes fit the objects once they are divided by one factor, or by one per side of a square.

    Args:
        sample: of the detections, whose image sizes are known.
        boxes: (S, 4) as x, y, width, height.
        as_written: how many of them overlap an object.
        shapes: what they are, or are around, for the message: boxes or masks.
    """
    width_height = sample.sizes[:, ::-1].astype(np.float64)
    longer = width_height.max(axis=1, keepdims=True).repeat(2, axis=1)
    shorter = width_height.min(axis=1, keepdims=True).repeat(2, axis=1)
    sides: dict[str, Floats] = {
        "all images had been resized by a factor of about {:.2g}": np.ones_like(width_height),
        "the longer side of each image had been resized to about {:.0f}": longer,
        "the shorter side of each image had been resized to about {:.0f}": shorter,
        "each image had been resized to about {0:.0f} x {0:.0f}": width_height,
    }
    best, words = 0, ""
    for text, unit in sides.items():
        factor = _factor(sample, boxes, unit)
        number = sample.count(sample.overlaps(boxes * np.tile(unit, 2) / factor)) if factor else 0
        if number > best:
            best, words = number, text.format(factor)
    if best < _MIN_FRACTION * len(sample) or not is_better(best, as_written, len(sample)):
        return None
    return (
        f"Of the {len(sample)} highest-scoring {shapes}, {as_written} overlap an object (IoU of boxes 0.5 or more), "
        f"but {best} would if {words} for the prediction; write {shapes} in pixels of the original image, whose size "
        "the ground truth has."
    )


def _factor(sample: Sample, boxes: Floats, unit: Floats) -> float:
    """The most frequent factor between boxes and objects; 0 if no two pairs agree, or position and size do not.

    Args:
        sample, boxes: see `resized_hint`.
        unit: (S, 2) what the factor of x and y is relative to, in pixels of each image.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        pairs = np.log(_centers(boxes)[sample.pair] / _centers(sample.truth.boxes)[sample.target])
        pairs = pairs + np.log(np.tile(unit, 2))[sample.pair]
    pairs = pairs[np.isfinite(pairs).all(axis=1)]
    pairs = pairs[np.ptp(pairs, axis=1) < _SPREAD]
    if (unit == 1).all():
        pairs = pairs[np.abs(np.median(pairs, axis=1)) > _UNCHANGED]
    if len(pairs) < 2:
        return 0.0
    factors = np.median(pairs, axis=1)
    bins = np.round(factors / _BIN).astype(np.int64)
    values, counts = np.unique(bins, return_counts=True)
    # A factor between two bins is in both; neighbors are counted together.
    near = [int(counts[np.abs(values - value) <= 1].sum()) for value in values]
    pairs = pairs[np.abs(bins - values[int(np.argmax(near))]) <= 1]
    # Of a detector whose boxes are too large, or too far to one side, only some of the four differ.
    if np.ptp(np.median(pairs, axis=0)) > _BIAS:
        return 0.0
    return float(np.exp(np.median(pairs)))


def _centers(boxes: Floats) -> Floats:
    """(N, 4) x and y of the center, width and height."""
    return np.concatenate([boxes[:, :2] + boxes[:, 2:] / 2, boxes[:, 2:]], axis=1)
