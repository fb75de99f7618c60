"""Average precision by frequency bucket."""

from lt_det.evaluation.metrics.bucket_ap import BucketAP, summarize

__all__ = ["BucketAP", "summarize"]
