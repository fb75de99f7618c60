"""Greedy assignment of detections to objects, at every IoU threshold and for every area range at once.

A yes or no for each threshold and area range is one bit of an integer: which objects are free, which fit, and which are
taken are then a few operations on whole arrays.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lt_det.evaluation._arrays import Bools, Floats, Ints, group_starts, rank_in_group
from lt_det.evaluation.matching.ground_truth import GroundTruth
from lt_det.evaluation.protocols import AREA_RANGES, IOU_THRESHOLDS, out_of_range

Bits = NDArray[np.uint64]

_BITS = np.uint64(1) << np.arange(IOU_THRESHOLDS.size * len(AREA_RANGES), dtype=np.uint64).reshape(
    IOU_THRESHOLDS.size, len(AREA_RANGES)
)
# The bits of the first n thresholds and all areas, by n; and the bits of all thresholds of an area.
_UP_TO_THRESHOLD = np.concatenate([[np.uint64(0)], np.bitwise_or.accumulate(np.bitwise_or.reduce(_BITS, axis=1))])
_OF_AREA = np.bitwise_or.reduce(_BITS, axis=0)


class Pairs(NamedTuple):
    """P pairs of a detection and an object of the same image and class whose IoU reaches the lowest threshold.

    Attributes:
        detection, target: (P,) indices of the detection and the object, sorted by detection.
        iou: (P,)
        image_class: (P,) number of the image and class; the detections of one are sorted by descending score.
    """

    detection: Ints
    target: Ints
    iou: Floats
    image_class: Ints


class Assignment(NamedTuple):
    """The M detections that occur in pairs.

    Attributes:
        detection: (M,) ascending.
        matched: (M,) bits of the thresholds and areas at which the detection matches an object.
        ignored: (M,) bits of those at which that object does not count.
        objects: (M,) int32, the object matched at the lowest threshold and any area; -1 for none.
    """

    detection: Ints
    matched: Bits
    ignored: Bits
    objects: NDArray[np.int32]


def greedy_assignment(truth: GroundTruth, federated: bool, objects: slice, pairs: Pairs) -> Assignment:
    """Give each detection, by descending score, the free object that it overlaps most.

    There is one round per rank of a detection in its image and class; each round handles all images and classes at
    once, because they share no objects.

    Args:
        truth: the objects that the protocol knows.
        federated: see `Protocol`.
        objects: the range of objects that the pairs may refer to.
        pairs: see `Pairs`.
    """
    detection, target, iou, image_class = pairs
    first = group_starts(detection)
    num_pairs = np.diff(np.append(first, len(detection)))
    matched, ignored = (np.zeros(len(first), dtype=np.uint64) for _ in range(2))
    matched_object = np.full(len(first), -1, dtype=np.int32)
    # Sort the pairs of each detection by descending IoU, and ties by descending object index.
    several = np.flatnonzero(np.repeat(num_pairs, num_pairs) > 1)
    order = np.arange(len(detection))
    order[several] = several[np.lexsort((-target[several], -iou[several], detection[several]))]
    target, iou = target[order] - objects.start, iou[order]
    reached = _UP_TO_THRESHOLD[np.searchsorted(np.minimum(IOU_THRESHOLDS, 1 - 1e-10), iou, side="right")]

    flagged = truth.ignore[objects] if federated else truth.crowd[objects]
    counting = ~(flagged[:, None] | out_of_range(truth.areas[objects]))
    counts = (counting * _OF_AREA).sum(axis=1, dtype=np.uint64)
    free = np.full(len(flagged), _UP_TO_THRESHOLD[-1])
    taken_once = ~(np.zeros_like(flagged) if federated else truth.crowd[objects])  # a crowd matches many detections

    rank = rank_in_group(image_class[first])
    by_rank = np.argsort(rank, kind="stable")
    bounds = np.searchsorted(rank[by_rank], np.arange(rank.max(initial=-1) + 2))
    for low, high in itertools.pairwise(bounds):
        candidates = by_rank[low:high]
        for counting_round in (True, False):  # objects that do not count are matched only if no other is left
            for nth in range(num_pairs[candidates].max()):
                active = candidates[num_pairs[candidates] > nth]
                pair = first[active] + nth
                obj = target[pair]
                fits = reached[pair] & free[obj] & ~matched[active]
                fits &= counts[obj] if counting_round else ~counts[obj]
                matched[active] |= fits
                if not counting_round:
                    ignored[active] |= fits
                free[obj] &= ~np.where(taken_once[obj], fits, np.uint64(0))
                at_lowest = (fits & _BITS[0, 0]) > 0
                matched_object[active[at_lowest]] = obj[at_lowest] + objects.start
    return Assignment(detection[first], matched, ignored, matched_object)


def matched_at(matched: Bits, ignored: Bits, threshold: int, area: int) -> tuple[Ints, Bools]:
    """Indices of the detections that match an object at a threshold and for an area range, and whether it counts."""
    bit = _BITS[threshold, area]
    index = np.flatnonzero(matched & bit)
    return index, (ignored[index] & bit) == 0
