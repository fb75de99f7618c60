"""Score calibration: whether detections with a score of 0.7 are correct in 70 % of the cases.

Expected calibration error of Guo et al. 2017, https://arxiv.org/abs/1706.04599, equation 3, with ten bins of equal
width. A detection is correct if it matches an object that counts at IoU 0.5. Detections that AP50 ignores (on a crowd,
or of a class about which the image's annotation is silent) are left out.
"""

from __future__ import annotations

import numpy as np

from lt_det.evaluation._arrays import Bools, Floats, Ints
from lt_det.evaluation.matching.assignment import matched_at
from lt_det.evaluation.matching.match import Matches
from lt_det.evaluation.protocols import IOU_THRESHOLDS
from lt_det.evaluation.schema import ALL, Calibration, CalibrationGroup, Numbers
from lt_det.statistics.buckets import FrequencyBuckets

BIN_EDGES = np.arange(11) / 10  # unlike linspace, exactly the floats 0.3 and 0.7


def calibration(matches: Matches, buckets: FrequencyBuckets) -> Calibration | None:
    """
    Args:
        matches: of the detections within the protocol's limits, see `average_precision.apply_limits`.
        buckets: of the same classes. A detection belongs to the bucket of its own class, with ground truth or without.

    Returns:
        Error and bins of each group; a bin includes its lower edge, the last one both. None if any score is outside
        0..1 or nan, because such scores are not probabilities.
    """
    if not ((matches.scores >= 0) & (matches.scores <= 1)).all():
        return None
    counts = matches.fp_if_unmatched[:, 0].copy()
    correct = np.zeros(len(matches), dtype=np.bool_)
    index, is_tp = matched_at(matches.matched, matches.ignored, 0, 0)
    counts[matches.overlapping[index]] = correct[matches.overlapping[index]] = is_tp

    scores, correct = matches.scores[counts], correct[counts]
    groups: dict[str, CalibrationGroup | None] = {ALL: _group(scores, correct)}
    if buckets.names:
        bucket_of = buckets.assignment[matches.classes[counts]]
        for bucket, name in enumerate(buckets.names):
            groups[name] = _group(scores[bucket_of == bucket], correct[bucket_of == bucket])
    return Calibration(iou=float(IOU_THRESHOLDS[0]), edges=BIN_EDGES.tolist(), groups=groups)


def _group(scores: Floats, correct: Bools) -> CalibrationGroup:
    num_bins = len(BIN_EDGES) - 1
    bins = np.minimum(np.searchsorted(BIN_EDGES, scores, side="right") - 1, num_bins - 1)
    count = np.bincount(bins, minlength=num_bins)
    divisor = np.maximum(count, 1)
    score = np.bincount(bins, weights=scores, minlength=num_bins) / divisor
    precision = np.bincount(bins, weights=correct, minlength=num_bins) / divisor
    return CalibrationGroup(
        ece=float((count * np.abs(precision - score)).sum() / len(scores)) if len(scores) else None,
        count=count.tolist(),
        score=_where_any(score, count),
        precision=_where_any(precision, count),
    )


def _where_any(values: Floats, count: Ints) -> Numbers:
    return [value if number else None for value, number in zip(values.tolist(), count.tolist(), strict=True)]
