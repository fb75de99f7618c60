"""From precision and recall to AP and AR per class and per frequency bucket."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lt_det.statistics.buckets import LVIS_EDGES, FrequencyBuckets, metric_name
from lt_det.statistics.class_stats import ClassStats

_LVIS_BUCKETS = {"r": 0, "c": 1, "f": 2}


def default_buckets(categories: list[dict[str, Any]], stats: ClassStats | None) -> FrequencyBuckets:
    """The buckets that an LVIS json names, else LVIS's edges over the counts of the training set.

    Args:
        categories: of the json that is judged on, by rising id.
        stats: of the training set; None if they are not known: without both, the buckets are empty.
    """
    assignment = [_LVIS_BUCKETS.get(str(category.get("frequency")), -1) for category in categories]
    if stats is not None and -1 in assignment:
        return FrequencyBuckets.from_edges(stats)
    return FrequencyBuckets(("rare", "common", "frequent"), np.asarray(assignment, dtype=np.int64), edges=LVIS_EDGES)


@dataclass(frozen=True)
class BucketAP:
    """Average precision and recall of one task, in percent; nan means n/a: no class with ground truth.

    Attributes:
        metrics: AP, AP50, AP75, APs, APm, APl, one entry per bucket, and AR, ARs, ARm, ARl, one entry per bucket.
        class_ap, class_ar: (K,) per class, nan for a class that does not occur in the evaluated set.
        bucket_sizes: number of classes behind each bucket's AP.
    """

    metrics: dict[str, float]
    class_ap: NDArray[np.float64]
    class_ar: NDArray[np.float64]
    bucket_sizes: dict[str, int]


def summarize(precision: NDArray[np.float64], recall: NDArray[np.float64], buckets: FrequencyBuckets) -> BucketAP:
    """Average precision and recall the way `lvis` and `pycocotools` do: over all cells that are not -1.

    AP is a mean over classes, so it is not the mean of the buckets.

    Args:
        precision: (T, R, K, A), see `precision.precision_table`.
        recall: (T, K, A).
        buckets: of the same K classes.
    """
    every_area = precision[..., 0]
    members = {name: buckets.members(bucket) for bucket, name in enumerate(buckets.names)}
    metrics = {
        "AP": _mean(every_area),
        "AP50": _mean(every_area[0]),
        "AP75": _mean(every_area[5]),
        **{f"AP{size}": _mean(precision[..., area]) for area, size in enumerate("sml", start=1)},
        **{metric_name(name): _mean(every_area[:, :, of]) for name, of in members.items()},
        "AR": _mean(recall[..., 0]),
        **{f"AR{size}": _mean(recall[..., area]) for area, size in enumerate("sml", start=1)},
        **{metric_name(name, "AR"): _mean(recall[:, of, 0]) for name, of in members.items()},
    }
    num_classes = precision.shape[2]
    class_ap = np.asarray([_mean(every_area[:, :, k]) for k in range(num_classes)])
    class_ar = np.asarray([_mean(recall[:, k, 0]) for k in range(num_classes)])
    sizes = {name: int(np.isfinite(class_ap[of]).sum()) for name, of in members.items()}
    return BucketAP(metrics, class_ap, class_ar, sizes)


def precision_recall_curves(
    precision: NDArray[np.float64], buckets: FrequencyBuckets
) -> dict[str, dict[str, list[float]] | None]:
    """Precision at the 101 recalls, at IoU 0.5 and 0.75 and the mean over all IoUs, of all classes and each bucket.

    Args:
        precision: (T, R, K, A).
        buckets: of the same K classes.

    Returns:
        by "all" and bucket; None for one without a class with ground truth.
    """
    every_area = precision[..., 0]
    known = every_area[0, 0] > -1  # a class has all cells or none
    result: dict[str, dict[str, list[float]] | None] = {}
    groups = {"all": np.arange(precision.shape[2])}
    groups |= {name: buckets.members(bucket) for bucket, name in enumerate(buckets.names)}
    for name, classes in groups.items():
        chosen = every_area[:, :, classes[known[classes]]]
        if chosen.size:
            mean = chosen.mean(axis=2)
            result[name] = {"0.5": mean[0].tolist(), "0.75": mean[5].tolist(), "mean": mean.mean(axis=0).tolist()}
        else:
            result[name] = None
    return result


def _mean(cells: NDArray[np.float64]) -> float:
    valid = cells[cells > -1]
    return float(np.mean(valid)) * 100 if valid.size else math.nan
