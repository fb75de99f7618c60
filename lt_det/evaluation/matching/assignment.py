"""Which detection gets which object, at every IoU threshold and for every area range at once.

A yes or no for each threshold and area range is one bit of a number: what is free, what fits and what is taken are then
a few operations on whole arrays.
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from lt_det.evaluation._arrays import positions, run_starts
from lt_det.evaluation.matching.ground_truth import GroundTruth
from lt_det.evaluation.protocols import AREA_RANGES, IOU_THRESHOLDS, out_of_range

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Bits = NDArray[np.uint64]

_BITS = np.uint64(1) << np.arange(IOU_THRESHOLDS.size * len(AREA_RANGES), dtype=np.uint64).reshape(
    IOU_THRESHOLDS.size, len(AREA_RANGES)
)
# All areas of the first thresholds, by their number; all thresholds of an area.
_UP_TO_THRESHOLD = np.concatenate([[np.uint64(0)], np.bitwise_or.accumulate(np.bitwise_or.reduce(_BITS, axis=1))])
_OF_AREA = np.bitwise_or.reduce(_BITS, axis=0)


def greedy(
    truth: GroundTruth,
    federated: bool,
    objects: slice,
    detection: Ints,
    target: Ints,
    iou: NDArray[np.float64],
    cell: Ints,
) -> tuple[Ints, Bits, Bits, NDArray[np.int32]]:
    """One round for each place in a cell's order of scores: all cells at once, since they share no object.

    Args:
        truth: the judged one.
        federated: see `Protocol`.
        objects: those that `target` may name.
        detection, target, iou, cell: (P,) pairs of a detection and an object of its cell (its image and class), whose
            IoU reaches the least threshold; by detection, and of each cell by falling score.

    Returns:
        (M,) the detections of the pairs, rising; and for each of them its bits of matching and of matching an object
        that does not count, and the object at the least threshold, of all areas, or -1.
    """
    first = run_starts(detection)
    touching, count = detection[first], np.diff(np.append(first, len(detection)))
    matched, neutral = (np.zeros(len(touching), dtype=np.uint64) for _ in range(2))
    found = np.full(len(touching), -1, dtype=np.int32)
    # Of a detection's pairs the best comes first: by IoU, and of equal ones the later object.
    several = np.flatnonzero(np.repeat(count, count) > 1)
    order = np.arange(len(detection))
    order[several] = several[np.lexsort((-target[several], -iou[several], detection[several]))]
    target, iou = target[order] - objects.start, iou[order]
    overlaps = _UP_TO_THRESHOLD[np.searchsorted(np.minimum(IOU_THRESHOLDS, 1 - 1e-10), iou, side="right")]

    flagged = truth.ignore[objects] if federated else truth.crowd[objects]
    counting = ~(flagged[:, None] | out_of_range(truth.areas[objects]))
    counts = (counting * _OF_AREA).sum(axis=1, dtype=np.uint64)
    free = np.full(len(flagged), _UP_TO_THRESHOLD[-1])
    may_be_taken = ~(np.zeros_like(flagged) if federated else truth.crowd[objects])

    round_of = positions(cell[first])
    by_round = np.argsort(round_of, kind="stable")
    bounds = np.searchsorted(round_of[by_round], np.arange(round_of.max(initial=-1) + 2))
    for low, high in itertools.pairwise(bounds):
        chosen = by_round[low:high]
        for does_count in (True, False):  # an object that does not count is taken where none else is left
            for place in range(count[chosen].max()):
                those = chosen[count[chosen] > place]
                of = target[first[those] + place]
                fits = overlaps[first[those] + place] & free[of] & ~matched[those]
                fits &= counts[of] if does_count else ~counts[of]
                matched[those] |= fits
                if not does_count:
                    neutral[those] |= fits
                free[of] &= ~np.where(may_be_taken[of], fits, np.uint64(0))
                simplest = (fits & _BITS[0, 0]) > 0
                found[those[simplest]] = of[simplest] + objects.start
    return touching, matched, neutral, found


def hits(matched: Bits, neutral: Bits, threshold: int, area: int) -> tuple[Ints, Bools]:
    """Those that match an object at a threshold and of an area range, as places; and whether the object counts."""
    bit = _BITS[threshold, area]
    which = np.flatnonzero(matched & bit)
    return which, (neutral[which] & bit) == 0
