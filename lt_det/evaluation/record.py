"""``evaluation.json``: what an evaluation found, for reports."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from lt_det.class_stats import ClassStats, FrequencyBuckets
from lt_det.evaluation.buckets import BucketAP
from lt_det.evaluation.protocols import Protocol, Task


def evaluation_record(
    dataset: str,
    protocol: Protocol,
    class_names: Sequence[str],
    buckets: FrequencyBuckets,
    stats: ClassStats | None,
    results: Mapping[Task, BucketAP],
) -> dict[str, Any]:
    """The content of the file; null where there is nothing to average."""
    return {
        "dataset": dataset,
        "protocol": protocol.name,
        "buckets": {"names": list(buckets.names), "by": buckets.by, "edges": buckets.edges},
        "classes": [
            {
                "name": name,
                "bucket": buckets.names[b] if (b := int(buckets.assignment[k])) >= 0 else None,
                "images": None if stats is None else int(stats.image_counts[k]),
            }
            for k, name in enumerate(class_names)
        ],
        "tasks": {
            task: {
                "metrics": {name: _json_number(value) for name, value in result.metrics.items()},
                "bucket_sizes": result.bucket_sizes,
                "class_ap": [_json_number(value) for value in result.class_ap],
            }
            for task, result in results.items()
        },
    }


def _json_number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
