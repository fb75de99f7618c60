"""From matches to precision and recall, equal to `lvis` and `pycocotools` to the last bit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lt_det.evaluation._arrays import Bools, Floats, Ints, descending_order, group_starts, stable_by_key
from lt_det.evaluation.context import EvaluationContext
from lt_det.evaluation.matching.assignment import matched_at
from lt_det.evaluation.matching.match import Matches
from lt_det.evaluation.metrics.interpolation import precision_at_recalls, true_positives_needed
from lt_det.evaluation.protocols import AREA_RANGES, IOU_THRESHOLDS, RECALL_THRESHOLDS, Protocol


class AreaTable(NamedTuple):
    """Precision and recall of the L classes with an object to find in one area range.

    The other classes of a large vocabulary, each of which would take 32 kB, have no entry.

    Attributes:
        classes: (L,) class indices, ascending.
        precision: (L, T, R) interpolated precision at each IoU threshold and each of the 101 recalls.
        recall: (L, T).
    """

    classes: Ints
    precision: Floats
    recall: Floats


def area_tables(matches: Matches, num_objects: Ints) -> Iterator[AreaTable]:
    """Yield the table of each area range: all, small, medium, large. One is in memory at a time.

    Args:
        matches: of all detections within the protocol's limits, see `apply_limits`.
        num_objects: (K, A) objects to find.
    """
    order, (position, overlapping) = in_class_order(matches)
    classes = matches.classes[matches.overlapping][overlapping]
    class_start = np.searchsorted(matches.classes[order], np.arange(len(num_objects)))
    own_fp = matches.fp_if_unmatched[matches.overlapping[overlapping]]
    fp_if_unmatched = matches.fp_if_unmatched[order]
    matched, ignored = matches.matched[overlapping], matches.ignored[overlapping]

    for area in range(len(AREA_RANGES)):
        has_objects = num_objects[:, area] > 0
        known = np.flatnonzero(has_objects)
        row = np.cumsum(has_objects) - 1
        precision = np.zeros((len(known), len(IOU_THRESHOLDS), len(RECALL_THRESHOLDS)))
        recall = np.zeros((len(known), len(IOU_THRESHOLDS)))
        needed = true_positives_needed(num_objects[known, area])
        total_fp = np.cumsum(fp_if_unmatched[:, area], dtype=np.int32)  # N of them: one area at a time
        fp_before_class = np.where(class_start > 0, total_fp[class_start - 1], 0) if len(total_fp) else class_start
        fp_so_far = total_fp[position] - fp_before_class[classes]
        for threshold in range(len(IOU_THRESHOLDS)):
            index, is_tp = matched_at(matched, ignored, threshold, area)
            matched_class = classes[index]
            # Detections that match here are not false positives, though they would be if they were unmatched.
            fp = fp_so_far[index] - _running_count(own_fp[index, area], matched_class)
            tp = _running_count(is_tp, matched_class)
            is_tp &= has_objects[matched_class]
            if not is_tp.any():
                continue
            tp_class, tp, fp = matched_class[is_tp], tp[is_tp].astype(np.float64), fp[is_tp].astype(np.float64)
            values = tp / (fp + tp + np.spacing(1))
            starts = group_starts(tp_class)
            found = row[tp_class[starts]]
            precision[found, threshold] = precision_at_recalls(values, starts, needed[found])
            last_tp = tp[np.append(starts[1:], len(tp_class)) - 1]
            recall[found, threshold] = last_tp / num_objects[known[found], area]
        yield AreaTable(known, precision, recall)


def precision_table(context: EvaluationContext, matches: Matches) -> tuple[Floats, Floats]:
    """All tables in the layout of the official packages, to compare whole arrays; 32 kB per class.

    Args:
        context: of all images of the set.
        matches: of all detections within the protocol's limits, see `apply_limits`.

    Returns:
        Interpolated precision (T, R, K, A) at 101 recalls, and recall (T, K, A); -1 for a class without an object to
        find.
    """
    shape = (context.num_classes, len(AREA_RANGES), len(IOU_THRESHOLDS))
    precision, recall = np.full((*shape, len(RECALL_THRESHOLDS)), -1.0), np.full(shape, -1.0)
    for area, table in enumerate(area_tables(matches, context.num_objects)):
        precision[table.classes, area] = table.precision
        recall[table.classes, area] = table.recall
    return precision.transpose(2, 3, 0, 1), recall.transpose(2, 0, 1)


def in_class_order(matches: Matches) -> tuple[Ints, tuple[Ints, Ints]]:
    """Sort by class and descending score; ties keep the order of the matches, which is that of the images.

    Returns:
        (N,) indices of the detections in that order; and for the overlapping detections, in that order too, their (M,)
        positions in it and their (M,) indices into `Matches.overlapping`.
    """
    by_score = descending_order(matches.scores)
    order = stable_by_key(by_score, matches.classes, int(matches.classes.max(initial=0)) + 1)
    position_of = np.empty(len(order), dtype=np.int32)
    position_of[order] = np.arange(len(order), dtype=np.int32)
    position: Ints = position_of[matches.overlapping].astype(np.int64)
    overlapping = np.argsort(position)
    return order, (position[overlapping], overlapping)


def apply_limits(matches: Matches, protocol: Protocol) -> Matches:
    """The detections within the protocol's limits per image."""
    return matches.select(within_image_limits(matches, protocol))


def within_image_limits(matches: Matches, protocol: Protocol) -> Bools:
    """(N,) whether each detection is within the protocol's limits per image."""
    kept = np.ones(len(matches), dtype=np.bool_)
    if protocol.per_image is not None:
        kept &= matches.rank_in_image < protocol.per_image
    if protocol.per_image_and_class is not None:
        kept &= matches.rank_in_class < protocol.per_image_and_class
    return kept


def _running_count(flags: Bools, groups: NDArray[np.int32]) -> Ints:
    """Running number of True within each group of equal neighbors."""
    total: Ints = np.cumsum(flags, dtype=np.int64)
    starts = group_starts(groups)
    before = np.where(starts > 0, total[starts - 1], 0)
    counts: Ints = total - np.repeat(before, np.diff(np.append(starts, len(groups))))
    return counts
