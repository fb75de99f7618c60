"""Average precision by frequency bucket."""

from lt_det.evaluation.buckets import BucketAP, summarize

__all__ = ["BucketAP", "summarize"]
