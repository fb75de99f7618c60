"""From a precision table to AP per class and per bucket."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lt_det.class_stats import FrequencyBuckets

_LVIS_BUCKETS = {"r": 0, "c": 1, "f": 2}
_SHORT = {"rare": "APr", "common": "APc", "frequent": "APf"}


def buckets_of_json(categories: list[dict[str, Any]]) -> FrequencyBuckets:
    """LVIS jsons carry the training set's buckets with them; other sets get three empty ones."""
    assignment = [_LVIS_BUCKETS.get(category.get("frequency", ""), -1) for category in categories]
    return FrequencyBuckets(("rare", "common", "frequent"), np.asarray(assignment, dtype=np.int64))


def metric_name(bucket: str) -> str:
    """LVIS's short names for its three buckets, ``AP-<name>`` for any other."""
    return _SHORT.get(bucket, f"AP-{bucket}")


@dataclass(frozen=True)
class BucketAP:
    """Average precision of one task, in percent; nan means n/a: no class with ground truth.

    Attributes:
        metrics: AP, AP50, AP75, APs, APm, APl and one entry per bucket.
        class_ap: (K,) AP per class, nan for a class that does not occur in the evaluated set.
        bucket_sizes: number of classes behind each bucket's AP.
    """

    metrics: dict[str, float]
    class_ap: NDArray[np.float64]
    bucket_sizes: dict[str, int]


def summarize(precision: NDArray[np.float64], buckets: FrequencyBuckets) -> BucketAP:
    """Average a precision table the way `lvis` and `pycocotools` do: over all cells that are not -1.

    AP is a mean over classes, so it is not the mean of the buckets.

    Args:
        precision: (T, R, K, A), see `precision.precision_table`.
        buckets: of the same K classes.
    """
    every_area = precision[..., 0]
    metrics = {
        "AP": _mean(every_area),
        "AP50": _mean(every_area[0]),
        "AP75": _mean(every_area[5]),
        "APs": _mean(precision[..., 1]),
        "APm": _mean(precision[..., 2]),
        "APl": _mean(precision[..., 3]),
    }
    class_ap = np.asarray([_mean(every_area[:, :, k]) for k in range(precision.shape[2])])
    sizes = {}
    for bucket, name in enumerate(buckets.names):
        members = buckets.members(bucket)
        metrics[metric_name(name)] = _mean(every_area[:, :, members])
        sizes[name] = int(np.isfinite(class_ap[members]).sum())
    return BucketAP(metrics, class_ap, sizes)


def _mean(cells: NDArray[np.float64]) -> float:
    valid = cells[cells > -1]
    return float(np.mean(valid)) * 100 if valid.size else math.nan
