"""From the matches of a whole set to everything that is reported of a task."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lt_det.evaluation.matching.assignment import hits
from lt_det.evaluation.matching.ground_truth import GroundTruth
from lt_det.evaluation.matching.match import Matches
from lt_det.evaluation.metrics.ap_pool import pooled_table
from lt_det.evaluation.metrics.average_precision import limited, objects_that_count, precision_table
from lt_det.evaluation.metrics.bootstrap import bootstrap
from lt_det.evaluation.metrics.bucket_ap import BucketAP, precision_recall_curves, summarize
from lt_det.evaluation.metrics.score_calibration import calibration
from lt_det.evaluation.metrics.tide import Errors, error_view
from lt_det.evaluation.progress import Track
from lt_det.evaluation.protocols import IOU_THRESHOLDS, Protocol
from lt_det.statistics.buckets import FrequencyBuckets, metric_name


@dataclass(frozen=True)
class TaskResult:
    """
    Attributes:
        summary: metrics, and AP and AR per class.
        precision_recall: see `precision_recall_curves`.
        draws: (B,) values of each resampled metric, see `bootstrap`; None where nothing was drawn.
        errors: see `error_view`; None where they were not looked for.
        calibration: see `calibration`; None where scores are no probabilities.
    """

    summary: BucketAP
    precision_recall: dict[str, dict[str, list[float]] | None]
    draws: dict[str, NDArray[np.float64]] | None
    errors: dict[str, Any] | None
    calibration: dict[str, Any] | None


def judge(
    truth: GroundTruth,
    matches: Matches,
    protocol: Protocol,
    buckets: FrequencyBuckets,
    *,
    errors: Errors | None = None,
    draws: int = 0,
    track: Track = iter,
) -> TaskResult:
    """
    Args:
        truth: of all images of the set.
        matches: of all detections.
        protocol: whose limits apply.
        buckets: of the set's classes.
        errors: of the same detections; None: no error view. AP-Pool has none.
        draws: of the bootstrap; 0: none. AP-Pool has none.
        track: wraps the loop over the draws, to show its progress.
    """
    matches = limited(matches, protocol)  # once for all that follows
    precision, recall = precision_table(truth, matches, protocol)
    summary = summarize(precision, recall, buckets)
    if not protocol.federated:
        summary = replace(summary, metrics=summary.metrics | _recall_of_few(truth, matches, protocol))
    curves = precision_recall_curves(precision, buckets)
    calibrated = calibration(matches, buckets)
    if protocol.pooled:
        metrics, curves = _pooled(truth, matches, protocol, buckets)
        return TaskResult(replace(summary, metrics=metrics), curves, None, None, calibrated)
    drawn = bootstrap(truth, matches, protocol, buckets, draws, track) if draws else None
    found = None if errors is None else error_view(truth, errors, protocol, buckets)
    return TaskResult(summary, curves, drawn, found, calibrated)


def _recall_of_few(truth: GroundTruth, matches: Matches, protocol: Protocol) -> dict[str, float]:
    """COCO's AR1 and AR10, of the best 1 and 10 detections of a class in an image."""
    objects = objects_that_count(truth, protocol)[:, 0]
    known = objects > 0
    metrics = {}
    for limit in (1, 10):
        of_threshold = []
        for threshold in range(len(IOU_THRESHOLDS)):
            which, right = hits(matches.matched, matches.neutral, threshold, 0)
            at = matches.touching[which[right]]
            few = matches.classes[at[matches.rank_in_class[at] < limit]]
            of_threshold.append(np.bincount(few, minlength=len(objects))[known] / objects[known])
        recall = np.concatenate(of_threshold)
        metrics[f"AR{limit}"] = float(np.mean(recall)) * 100 if recall.size else math.nan
    return metrics


def _pooled(
    truth: GroundTruth, matches: Matches, protocol: Protocol, buckets: FrequencyBuckets
) -> tuple[dict[str, float], dict[str, Any]]:
    """Metrics and curves of all classes as one, and of the classes of each bucket as one."""
    alone = FrequencyBuckets((), np.zeros(1, dtype=np.int64))
    table = pooled_table(truth, matches, protocol, np.arange(truth.num_classes))
    metrics = summarize(*table, alone).metrics
    curves = precision_recall_curves(table[0], alone)
    for bucket, name in enumerate(buckets.names):
        table = pooled_table(truth, matches, protocol, buckets.members(bucket))
        of_bucket = summarize(*table, alone).metrics
        metrics |= {metric_name(name): of_bucket["AP"], metric_name(name, "AR"): of_bucket["AR"]}
        curves[name] = precision_recall_curves(table[0], alone)["all"]
    return metrics, curves
