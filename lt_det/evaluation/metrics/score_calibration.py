"""Whether scores are probabilities: how often detections of a score are right, beside that score.

Expected calibration error of Guo et al. 2017, https://arxiv.org/abs/1706.04599, equation 3, with ten bins of equal
width. A detection is right if it matches an object that counts at IoU 0.5; one that is neither right nor wrong for AP50
(on a crowd, or of a class that the image's annotation does not settle) is left out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lt_det.evaluation.matching.assignment import hits
from lt_det.evaluation.matching.match import Matches
from lt_det.evaluation.protocols import IOU_THRESHOLDS
from lt_det.statistics.buckets import FrequencyBuckets

BIN_EDGES = np.arange(11) / 10  # unlike linspace's, the floats that 0.3 and 0.7 are


def calibration(matches: Matches, buckets: FrequencyBuckets) -> dict[str, Any] | None:
    """
    Args:
        matches: those that count under the protocol's limits, see `precision.limited`.
        buckets: of the same classes. A detection belongs to the bucket of its own class, with ground truth or not.

    Returns:
        ``iou``, the overlap that makes a detection right; ``edges`` of the bins, each with its lower edge, the last
        with both; ``groups``: for "all" and each bucket, ``ece`` in 0..1 and for each bin ``count``, mean ``score`` and
        ``precision``, the share that is right; None where there is no detection. None for the whole if any score lies
        outside 0..1 or is no number: such scores are no probabilities, in whatever group they are.
    """
    if not ((matches.scores >= 0) & (matches.scores <= 1)).all():
        return None
    counts = matches.wrong_if_unmatched[:, 0].copy()
    right = np.zeros(len(matches), dtype=np.bool_)
    which, is_right = hits(matches.matched, matches.neutral, 0, 0)
    counts[matches.touching[which]] = right[matches.touching[which]] = is_right

    scores, right = matches.scores[counts], right[counts]
    bucket = buckets.assignment[matches.classes[counts]]
    groups = {"all": _group(scores, right)}
    for place, name in enumerate(buckets.names):
        groups[name] = _group(scores[bucket == place], right[bucket == place])
    return {"iou": float(IOU_THRESHOLDS[0]), "edges": BIN_EDGES.tolist(), "groups": groups}


def _group(scores: NDArray[np.float64], right: NDArray[np.bool_]) -> dict[str, Any]:
    """Error and bins of some detections."""
    num_bins = len(BIN_EDGES) - 1
    bins = np.minimum(np.searchsorted(BIN_EDGES, scores, side="right") - 1, num_bins - 1)
    count = np.bincount(bins, minlength=num_bins)
    filled = np.maximum(count, 1)
    score = np.bincount(bins, weights=scores, minlength=num_bins) / filled
    precision = np.bincount(bins, weights=right, minlength=num_bins) / filled
    return {
        "ece": float((count * np.abs(precision - score)).sum() / len(scores)) if len(scores) else None,
        "count": count.tolist(),
        "score": _where_any(score, count),
        "precision": _where_any(precision, count),
    }


def _where_any(values: NDArray[np.float64], count: NDArray[np.int64]) -> list[float | None]:
    return [value if number else None for value, number in zip(values.tolist(), count.tolist(), strict=True)]
