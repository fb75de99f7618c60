"""Class counts of a training set, and frequency buckets. Importing the package needs NumPy only."""

from lt_det.statistics.bucket_advice import one_bucket_advice, suggested_edges
from lt_det.statistics.buckets import (
    LVIS_EDGES,
    UNSEEN,
    BucketOptions,
    FrequencyBuckets,
    metric_name,
    resolve_buckets,
)
from lt_det.statistics.class_stats import ClassStats, CountBy

__all__ = [
    "LVIS_EDGES",
    "UNSEEN",
    "BucketOptions",
    "ClassStats",
    "CountBy",
    "FrequencyBuckets",
    "metric_name",
    "one_bucket_advice",
    "resolve_buckets",
    "suggested_edges",
]
