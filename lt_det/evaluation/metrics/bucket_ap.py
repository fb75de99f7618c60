"""From precision and recall to AP and AR per class and per frequency bucket."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lt_det.evaluation._arrays import Floats
from lt_det.evaluation.schema import ALL, PrecisionRecall, group_metric
from lt_det.statistics.buckets import FrequencyBuckets


@dataclass(frozen=True)
class BucketAP:
    """Average precision and recall of one task, in percent; nan means n/a: no class with ground truth.

    Attributes:
        metrics: AP, AP50, AP75, APs, APm, APl, AP of each bucket, AR, ARs, ARm, ARl, AR of each bucket.
        class_ap, class_ar: (K,) nan for a class without ground truth.
        bucket_sizes: number of classes with ground truth in each bucket.
    """

    metrics: dict[str, float]
    class_ap: Floats
    class_ar: Floats
    bucket_sizes: dict[str, int]


def summarize(precision: Floats, recall: Floats, buckets: FrequencyBuckets) -> BucketAP:
    """Average precision and recall as `lvis` and `pycocotools` do: over all entries that are not -1.

    AP is a mean over classes, so it is not the mean over buckets.

    Args:
        precision: (T, R, K, A), see `average_precision.precision_table`.
        recall: (T, K, A).
        buckets: of the same K classes.
    """
    all_areas = precision[..., 0]
    members = {name: buckets.members(bucket) for bucket, name in enumerate(buckets.names)}
    metrics = {
        "AP": percent_mean(all_areas),
        "AP50": percent_mean(all_areas[0]),
        "AP75": percent_mean(all_areas[5]),
        **{f"AP{size}": percent_mean(precision[..., area]) for area, size in enumerate("sml", start=1)},
        **{group_metric(name): percent_mean(all_areas[:, :, classes]) for name, classes in members.items()},
        "AR": percent_mean(recall[..., 0]),
        **{f"AR{size}": percent_mean(recall[..., area]) for area, size in enumerate("sml", start=1)},
        **{group_metric(name, "AR"): percent_mean(recall[:, classes, 0]) for name, classes in members.items()},
    }
    num_classes = precision.shape[2]
    class_ap = np.asarray([percent_mean(all_areas[:, :, k]) for k in range(num_classes)])
    class_ar = np.asarray([percent_mean(recall[:, k, 0]) for k in range(num_classes)])
    sizes = {name: int(np.isfinite(class_ap[classes]).sum()) for name, classes in members.items()}
    return BucketAP(metrics, class_ap, class_ar, sizes)


def precision_recall_curves(precision: Floats, buckets: FrequencyBuckets) -> dict[str, PrecisionRecall | None]:
    """Mean precision over classes at the 101 recalls, of each group; None for one without a class with ground truth.

    Args:
        precision: (T, R, K, A).
        buckets: of the same K classes.
    """
    all_areas = precision[..., 0]
    known = all_areas[0, 0] > -1  # a class has all values or none
    groups = {ALL: np.arange(precision.shape[2])}
    groups |= {name: buckets.members(bucket) for bucket, name in enumerate(buckets.names)}
    result: dict[str, PrecisionRecall | None] = {}
    for name, classes in groups.items():
        curves = all_areas[:, :, classes[known[classes]]]
        if curves.size:
            mean = curves.mean(axis=2)
            result[name] = PrecisionRecall(
                iou_50=mean[0].tolist(), iou_75=mean[5].tolist(), mean=mean.mean(axis=0).tolist()
            )
        else:
            result[name] = None
    return result


def percent_mean(values: Floats) -> float:
    """Mean in percent of the values that are not -1; nan if there are none."""
    valid = values[values > -1]
    return float(np.mean(valid)) * 100 if valid.size else math.nan
