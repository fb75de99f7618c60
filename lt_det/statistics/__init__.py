"""Class counts of a training set, and the frequency buckets that follow from them. Needs numpy only."""

from lt_det.statistics.buckets import LVIS_EDGES, UNSEEN, FrequencyBuckets, metric_name
from lt_det.statistics.class_stats import ClassStats, CountBy

__all__ = ["LVIS_EDGES", "UNSEEN", "ClassStats", "CountBy", "FrequencyBuckets", "metric_name"]
