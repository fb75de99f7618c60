"""AP per class and per frequency bucket: `evaluate`, `LongTailAP` for loops, `LongTailEvaluator` for Detectron2.

Each name is imported when it is first used, because `LongTailEvaluator` needs torch and Detectron2 and the others do
not.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

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

_MODULES = {
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
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'lt_det.evaluation' has no attribute '{name}'")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
