"""Anchors from the sizes of the objects after resizing."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

COVERED = 0.5  # IoU of an object with an anchor on its center, from which the anchor is of use

_SIZES_PER_STRIDE = [2 ** (k / 4) for k in range(2, 15)]  # size of an anchor as a multiple of the stride: 1.4 to 11
_SAME = 0.005  # of mean IoU: smaller gains do not count
# Sizes of a level as multiples of its first: the next ones where too many objects are not covered.
_SCALES = ((1.0,), (1.0, 2**0.5), (1.0, 2.0), (1.0, 1.6, 2.5))
_MOST_UNCOVERED = 0.1  # fraction of the objects
_QUANTILES = (1 / 6, 1 / 2, 5 / 6)
_MANY_QUANTILES = (0.1, 0.3, 0.5, 0.7, 0.9)
_ELONGATED = 8.0  # ratio of the 90th to the 10th percentile of the aspect ratios from which five are used
_NEAR = 1.3  # aspect ratios nearer than this factor are one
_SAMPLE = 5000  # objects that are compared with anchors


@dataclass(frozen=True)
class Anchors:
    """
    Attributes:
        sizes: for each level, the square roots of the anchors' areas, in pixels.
        aspect_ratios: height divided by width; the same in each level.
        covered: fraction of the objects that an anchor overlaps with an IoU of `COVERED` or more, centers aligned.
    """

    sizes: list[list[int]]
    aspect_ratios: list[float]
    covered: float


def choose_anchors(boxes: NDArray[np.float64], strides: Sequence[int], usual: float) -> Anchors:
    """Sizes that double from level to level, since one RPN head serves all levels, and quantiles of aspect ratios.

    Args:
        boxes: (A, 2) width and height of the objects after resizing, one or more.
        strides: of the levels, in pixels.
        usual: size of an anchor as a multiple of its stride, where the objects leave the choice.
    """
    boxes = boxes[:: max(1, len(boxes) // _SAMPLE)]
    ratios = _aspect_ratios(boxes)
    best = Anchors([], ratios, -1.0)
    for scales in _SCALES:
        found = _best_of_scales(boxes, strides, usual, scales, ratios)
        if found.covered > best.covered + _SAME:
            best = found
        if best.covered >= 1 - _MOST_UNCOVERED:
            break
    return best


def _best_of_scales(
    boxes: NDArray[np.float64], strides: Sequence[int], usual: float, scales: Sequence[float], ratios: list[float]
) -> Anchors:
    options = [
        (of, [[max(1, round(stride * of * scale)) for scale in scales] for stride in strides])
        for of in _SIZES_PER_STRIDE
    ]
    overlaps = [_best_ious(boxes, sizes, ratios) for _, sizes in options]
    means = [float(ious.mean()) for ious in overlaps]
    good = [number for number, mean in enumerate(means) if mean >= max(means) - _SAME]
    chosen = min(good, key=lambda number: abs(np.log(options[number][0] / usual)))
    return Anchors(options[chosen][1], ratios, float((overlaps[chosen] >= COVERED).mean()))


def coverage(boxes: NDArray[np.float64], sizes: Sequence[Sequence[float]], aspect_ratios: Sequence[float]) -> float:
    """Fraction of the objects that given anchors cover, see `Anchors.covered`."""
    ious = _best_ious(boxes[:: max(1, len(boxes) // _SAMPLE)], sizes, aspect_ratios)
    return float((ious >= COVERED).mean())


def _aspect_ratios(boxes: NDArray[np.float64]) -> list[float]:
    ratios = boxes[:, 1] / boxes[:, 0]
    low, high = np.quantile(ratios, (0.1, 0.9))
    kept: list[float] = []
    for ratio in np.quantile(ratios, _MANY_QUANTILES if high / low > _ELONGATED else _QUANTILES):
        if not kept or ratio / kept[-1] >= _NEAR:
            kept.append(float(ratio))
    return [float(f"{ratio:.2g}") for ratio in kept]


def _best_ious(
    boxes: NDArray[np.float64], sizes: Sequence[Sequence[float]], aspect_ratios: Sequence[float]
) -> NDArray[np.float64]:
    """(A,) the largest IoU of each object with an anchor on its center."""
    best = np.zeros(len(boxes))
    for size, ratio in itertools.product(itertools.chain.from_iterable(sizes), aspect_ratios):
        anchor = np.array([size / ratio**0.5, size * ratio**0.5])
        shared = np.minimum(boxes, anchor).prod(axis=1)
        np.maximum(best, shared / (boxes.prod(axis=1) + size**2 - shared), out=best)
    return best
