"""AP per class and per frequency bucket: `evaluate`, `LongTailAP` for loops, `LongTailEvaluator` for Detectron2.

Each name is imported when it is first used, because `LongTailEvaluator` needs torch and Detectron2 and the others do
not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lt_det.lazy_imports import lazy_exports

if TYPE_CHECKING:
    from lt_det.evaluation.accumulator import LongTailAP
    from lt_det.evaluation.api import evaluate
    from lt_det.evaluation.metrics.bucket_ap import BucketAP, summarize
    from lt_det.evaluation.result import ClassResult, EvaluationResult
    from lt_det.statistics.buckets import BucketOptions, FrequencyBuckets
    from lt_det.statistics.class_stats import ClassStats

__all__ = [
    "BucketAP",
    "BucketOptions",
    "ClassResult",
    "ClassStats",
    "EvaluationResult",
    "FrequencyBuckets",
    "LongTailAP",
    "LongTailEvaluator",
    "evaluate",
    "summarize",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "BucketAP": "lt_det.evaluation.metrics.bucket_ap",
        "BucketOptions": "lt_det.statistics.buckets",
        "ClassResult": "lt_det.evaluation.result",
        "ClassStats": "lt_det.statistics.class_stats",
        "EvaluationResult": "lt_det.evaluation.result",
        "FrequencyBuckets": "lt_det.statistics.buckets",
        "LongTailAP": "lt_det.evaluation.accumulator",
        "LongTailEvaluator": "lt_det.evaluation.evaluator",
        "evaluate": "lt_det.evaluation.api",
        "summarize": "lt_det.evaluation.metrics.bucket_ap",
    },
)
