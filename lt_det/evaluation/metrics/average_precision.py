"""From matches to precision and recall, equal to `lvis` and `pycocotools` to the last bit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lt_det.evaluation._arrays import falling, grouped, run_starts
from lt_det.evaluation.matching.assignment import hits
from lt_det.evaluation.matching.ground_truth import GroundTruth
from lt_det.evaluation.matching.match import Matches, judged_truth
from lt_det.evaluation.protocols import AREA_RANGES, IOU_THRESHOLDS, RECALL_THRESHOLDS, Protocol, out_of_range

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def precision_table(truth: GroundTruth, matches: Matches, protocol: Protocol) -> tuple[Floats, Floats]:
    """
    Args:
        truth: of all images of the set, also those without a detection.
        matches: of all detections.
        protocol: its limits are applied here.

    Returns:
        precision (T, R, K, A) at 101 recalls, and recall (T, K, A); -1 for a class without an object that counts.
    """
    return curves(limited(matches, protocol), objects_that_count(truth, protocol))


def curves(matches: Matches, objects: Ints) -> tuple[Floats, Floats]:
    """`precision_table` of detections that all count, from the (K, A) numbers of objects to be found."""
    num_classes = len(objects)
    # Each curve in one piece of memory; the usual order of axes is a view of it.
    precision = np.full((num_classes, len(AREA_RANGES), len(IOU_THRESHOLDS), len(RECALL_THRESHOLDS)), -1.0)
    recall = np.full((num_classes, len(AREA_RANGES), len(IOU_THRESHOLDS)), -1.0)

    order, (at, by_place) = in_class_order(matches)
    classes = matches.classes[matches.touching][by_place]
    class_start = np.searchsorted(matches.classes[order], np.arange(num_classes))
    wrong_alone = matches.wrong_if_unmatched[matches.touching[by_place]]
    wrong = matches.wrong_if_unmatched[order]
    matched, neutral = matches.matched[by_place], matches.neutral[by_place]

    for area in range(len(AREA_RANGES)):
        counted = objects[:, area] > 0
        precision[counted, area] = 0.0
        recall[counted, area] = 0.0
        needed = hits_needed(objects[:, area])
        unmatched = np.cumsum(wrong[:, area], dtype=np.int32)  # N of them: one area at a time
        before = np.where(class_start > 0, unmatched[class_start - 1], 0) if len(unmatched) else class_start
        wrong_so_far = unmatched[at] - before[classes]
        for threshold in range(len(IOU_THRESHOLDS)):
            which, right = hits(matched, neutral, threshold, area)
            of = classes[which]
            # Of those that would be wrong alone, the ones that matched are not.
            wrong_then = wrong_so_far[which] - _cumulative(wrong_alone[which, area], of)
            right_then = _cumulative(right, of)
            right &= counted[of]
            if not right.any():
                continue
            of, true, false = of[right], right_then[right].astype(np.float64), wrong_then[right].astype(np.float64)
            value = true / (false + true + np.spacing(1))
            starts = run_starts(of)
            found = of[starts]
            precision[found, area, threshold] = at_recalls(value, starts, needed[found])
            recall[found, area, threshold] = true[np.append(starts[1:], len(of)) - 1] / objects[found, area]
    return precision.transpose(2, 3, 0, 1), recall.transpose(2, 0, 1)


def in_class_order(matches: Matches) -> tuple[Ints, tuple[Ints, Ints]]:
    """By class and falling score; ties in the order of images, and inside one in the order of the matches.

    Returns:
        (N,) the detections in that order; and of those that touch an object, in that order too, (M,) the places in it
        and (M,) the indices into `touching`.
    """
    order = grouped(falling(matches.scores), matches.classes, int(matches.classes.max(initial=0)) + 1)
    place_of = np.empty(len(order), dtype=np.int32)
    place_of[order] = np.arange(len(order), dtype=np.int32)
    place: Ints = place_of[matches.touching].astype(np.int64)
    by_place = np.argsort(place)
    return order, (place[by_place], by_place)


def limited(matches: Matches, protocol: Protocol) -> Matches:
    """The detections that count under a protocol's limits on those of an image."""
    return matches.select(within_image_limits(matches, protocol))


def within_image_limits(matches: Matches, protocol: Protocol) -> Bools:
    """(N,) those that the limits on detections of an image leave."""
    kept = np.ones(len(matches), dtype=np.bool_)
    if protocol.per_image is not None:
        kept &= matches.rank_in_image < protocol.per_image
    if protocol.per_image_and_class is not None:
        kept &= matches.rank_in_class < protocol.per_image_and_class
    return kept


def objects_that_count(truth: GroundTruth, protocol: Protocol) -> Ints:
    """(K, A) objects per class and area range that a detector is asked for."""
    truth = judged_truth(truth, protocol)
    columns = [
        np.bincount(truth.classes[column], minlength=truth.num_classes) for column in whether_to_find(truth, protocol).T
    ]
    return np.stack(columns, axis=1).astype(np.int64)


def objects_to_find(truth: GroundTruth, protocol: Protocol) -> tuple[Ints, Ints]:
    """Class and image of each object of any area that a detector is asked for."""
    truth = judged_truth(truth, protocol)
    asked = whether_to_find(truth, protocol)[:, 0]
    images = np.repeat(np.arange(len(truth.image_ids)), np.diff(truth.start))
    return truth.classes[asked], images[asked]


def whether_to_find(truth: GroundTruth, protocol: Protocol) -> Bools:
    """(G, A) whether a detector is asked for an object of the judged truth."""
    flagged = truth.ignore if protocol.federated else truth.crowd
    return ~(out_of_range(truth.areas) | flagged[:, None])


def hits_needed(objects: Ints) -> Ints:
    """(K,) numbers of objects to (K, R): how many must be found to reach each recall, by the division as floats."""
    safe = np.maximum(objects, 1)[:, None]
    needed = np.ceil(RECALL_THRESHOLDS * safe).astype(np.int64)
    needed -= (needed - 1) / safe >= RECALL_THRESHOLDS
    needed += needed / safe < RECALL_THRESHOLDS
    return needed


def at_recalls(values: Floats, starts: Ints, needed: Ints) -> Floats:
    """(C, R) precision of C curves at each recall: the best of those there and beyond, 0 where it is not reached.

    Args:
        values: (n,) precision at each right detection, one curve after the other, by falling score.
        starts: (C,) where the curves begin; each has a detection.
        needed: (C, R) see `hits_needed`.
    """
    lengths = np.diff(np.append(starts, len(values)))
    # The best of all curves in one go: by the ranks of the values, which can be moved apart without rounding.
    order = np.argsort(values)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    apart = np.repeat(np.arange(len(starts))[::-1] * len(values), lengths)
    best = np.maximum.accumulate((rank + apart)[::-1])[::-1] - apart
    last = starts[:, None] + np.clip(needed, 1, lengths[:, None]) - 1
    return np.where(needed <= lengths[:, None], values[order[best[last]]], 0.0)


def _cumulative(flags: NDArray[np.bool_], groups: NDArray[np.int32]) -> Ints:
    """Running number of True inside each run of equal groups."""
    total: Ints = np.cumsum(flags, dtype=np.int64)
    starts = run_starts(groups)
    before = np.where(starts > 0, total[starts - 1], 0)
    return total - np.repeat(before, np.diff(np.append(starts, len(groups))))
