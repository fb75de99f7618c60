"""From the matches of a whole set to the content of ``evaluation.json``."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import msgspec
import numpy as np

from lt_det.evaluation._arrays import Floats
from lt_det.evaluation.context import EvaluationContext
from lt_det.evaluation.matching.assignment import matched_at
from lt_det.evaluation.matching.match import Matches
from lt_det.evaluation.metrics.ap_pool import pooled_tables
from lt_det.evaluation.metrics.average_precision import apply_limits, area_tables
from lt_det.evaluation.metrics.bootstrap import SEED, bootstrap, fingerprint
from lt_det.evaluation.metrics.bucket_ap import BucketAP, summarize_areas
from lt_det.evaluation.metrics.intervals import interval
from lt_det.evaluation.metrics.score_calibration import calibration
from lt_det.evaluation.metrics.tide import Errors, analyze_errors
from lt_det.evaluation.progress import Track
from lt_det.evaluation.protocols import IOU_THRESHOLDS, AreaFrom, Task
from lt_det.evaluation.schema import (
    ALL,
    VERSION,
    Buckets,
    Calibration,
    ClassEntry,
    ErrorAnalysis,
    Evaluation,
    Numbers,
    PrecisionRecall,
    ProtocolName,
    Resamples,
    TaskEvaluation,
    group_metric,
)
from lt_det.statistics.buckets import FrequencyBuckets
from lt_det.statistics.class_stats import ClassStats


@dataclass(frozen=True)
class TaskResult:
    """
    Attributes:
        summary: metrics, and AP and AR per class.
        precision_recall: see `summarize_areas`.
        draws: (B,) values of each resampled metric, see `bootstrap`; None without draws.
        errors: see `analyze_errors`; None without an analysis.
        calibration: see `calibration`; None if the scores are not probabilities.
    """

    summary: BucketAP
    precision_recall: dict[str, PrecisionRecall | None]
    draws: dict[str, Floats] | None
    errors: ErrorAnalysis | None
    calibration: Calibration | None


def summarize_task(
    context: EvaluationContext,
    matches: Matches,
    *,
    errors: Errors | None = None,
    draws: int = 0,
    track: Track = iter,
) -> TaskResult:
    """
    Args:
        context: of all images of the set.
        matches: of all detections; the protocol's limits are applied here.
        errors: of the same detections; None for no error analysis. AP-Pool has none.
        draws: number of bootstrap draws; 0 for none. AP-Pool has none.
        track: wraps the loop over the draws, to show its progress.
    """
    unlimited, matches = matches, apply_limits(matches, context.protocol)
    tables = area_tables(matches, context.num_objects)
    summary, curves = summarize_areas(tables, context.num_classes, context.buckets)
    if not context.protocol.federated:
        summary = replace(summary, metrics=summary.metrics | _recall_at_1_and_10(context, unlimited))
    calibrated = calibration(matches, context.buckets)
    if context.protocol.pooled:
        metrics, curves = _pooled(context, matches)
        return TaskResult(replace(summary, metrics=metrics), curves, None, None, calibrated)
    return TaskResult(
        summary,
        curves,
        bootstrap(context, matches, draws, track) if draws else None,
        None if errors is None else analyze_errors(context, errors),
        calibrated,
    )


def _recall_at_1_and_10(context: EvaluationContext, matches: Matches) -> dict[str, float]:
    """COCO's AR1 and AR10: recall of the 1 and 10 highest-scoring detections per image and class."""
    num_objects = context.num_objects[:, 0]
    known = num_objects > 0
    metrics = {}
    for limit in (1, 10):
        recalls = []
        for threshold in range(len(IOU_THRESHOLDS)):
            index, is_tp = matched_at(matches.matched, matches.ignored, threshold, 0)
            tp = matches.overlapping[index[is_tp]]
            tp_classes = matches.classes[tp[matches.rank_in_class[tp] < limit]]
            recalls.append(np.bincount(tp_classes, minlength=len(num_objects))[known] / num_objects[known])
        recall = np.concatenate(recalls)
        metrics[f"AR{limit}"] = float(np.mean(recall)) * 100 if recall.size else math.nan
    return metrics


def _pooled(context: EvaluationContext, matches: Matches) -> tuple[dict[str, float], dict[str, PrecisionRecall | None]]:
    """Metrics and curves with all classes pooled, and with the classes of each bucket pooled."""
    one_class = FrequencyBuckets((), np.zeros(1, dtype=np.int64))
    everything = np.arange(context.num_classes)
    summary, curves = summarize_areas(pooled_tables(context, matches, everything), 1, one_class)
    metrics = summary.metrics
    for bucket, name in enumerate(context.buckets.names):
        tables = pooled_tables(context, matches, context.buckets.members(bucket))
        pooled, pooled_curves = summarize_areas(tables, 1, one_class)
        metrics |= {group_metric(name): pooled.metrics["AP"], group_metric(name, "AR"): pooled.metrics["AR"]}
        curves[name] = pooled_curves[ALL]
    return metrics, curves


def build_evaluation(
    context: EvaluationContext,
    results: Mapping[Task, TaskResult],
    *,
    dataset: str,
    class_names: Sequence[str],
    stats: ClassStats | None,
    area_from: AreaFrom = "mask",
    ground_truth: str | None,
    image_root: str | None,
    detections: str | None,
) -> Evaluation:
    """
    Args:
        context: of all images of the set.
        results: one per task.
        dataset: name of the set.
        class_names: K names, in class order.
        stats: counts of the training set, None if they are not known.
        area_from: what the areas of detected masks were measured on.
        ground_truth: path of the annotation file, None without one.
        image_root: folder of the images, None if it is not known.
        detections: path of the COCO results, absolute or relative to the evaluation's folder; None without one.
    """
    buckets, images = context.buckets, fingerprint(context)
    max_dets = context.protocol.max_dets if context.protocol.is_changed else None
    ids, num_objects = context.ground_truth.category_ids.tolist(), context.num_objects[:, 0].tolist()
    assignment = buckets.assignment.tolist()
    size: int | msgspec.UnsetType = msgspec.UNSET
    if detections is not None and os.path.isabs(detections) and os.path.isfile(detections):
        size = os.path.getsize(detections)
    return Evaluation(
        dataset=dataset,
        version=VERSION,
        protocol=cast(ProtocolName, context.protocol.name),
        max_dets=msgspec.UNSET if max_dets is None else max_dets,
        area_from=area_from if area_from == "box" else msgspec.UNSET,
        num_images=context.num_images,
        fingerprint=images,
        ground_truth=ground_truth,
        image_root=image_root,
        results=detections,
        results_size=size,
        buckets=Buckets(
            names=list(buckets.names), by=buckets.by, edges=None if buckets.edges is None else list(buckets.edges)
        ),
        classes=[
            ClassEntry(
                name=name,
                id=ids[k],
                bucket=buckets.names[assignment[k]] if assignment[k] >= 0 else None,
                images=None if stats is None else int(stats.image_counts[k]),
                objects=num_objects[k],
            )
            for k, name in enumerate(class_names)
        ],
        tasks={task: _task_evaluation(result, images) for task, result in results.items()},
    )


def _task_evaluation(result: TaskResult, images: str) -> TaskEvaluation:
    summary, draws = result.summary, result.draws
    intervals, resamples = None, None
    if draws is not None:
        intervals = {name: _clipped_interval(values, summary.metrics[name]) for name, values in draws.items()}
        values = {name: _numbers(drawn.tolist()) for name, drawn in draws.items()}
        resamples = Resamples(seed=SEED, images=images, values=values)
    return TaskEvaluation(
        metrics={name: _number(value) for name, value in summary.metrics.items()},
        bucket_sizes=summary.bucket_sizes,
        class_ap=_numbers(summary.class_ap.tolist()),
        class_ar=_numbers(summary.class_ar.tolist()),
        intervals=intervals,
        resamples=resamples,
        precision_recall=result.precision_recall,
        errors=result.errors,
        calibration=result.calibration,
    )


def _clipped_interval(draws: Floats, estimate: float) -> list[float] | None:
    """`interval`, clipped to the 0 to 100 of AP."""
    ends = interval(draws, estimate)
    return None if ends is None else [max(ends[0], 0.0), min(ends[1], 100.0)]


def _numbers(values: Iterable[float]) -> Numbers:
    return [_number(value) for value in values]


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
