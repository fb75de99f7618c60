"""From precision and recall to AP and AR per class and per frequency bucket."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from lt_det.evaluation._arrays import Floats, Ints
from lt_det.evaluation.metrics.average_precision import AreaTable
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
    tables = (
        AreaTable(
            np.arange(precision.shape[2]), precision[..., area].transpose(2, 0, 1), recall[..., area].transpose(1, 0)
        )
        for area in range(precision.shape[3])
    )
    return summarize_areas(tables, precision.shape[2], buckets)[0]


def summarize_areas(
    tables: Iterable[AreaTable], num_classes: int, buckets: FrequencyBuckets
) -> tuple[BucketAP, dict[str, PrecisionRecall | None]]:
    """As `summarize`, from the table of each area range, which may lack the classes without an object to find.

    Args:
        tables: of all, small, medium and large objects, see `average_precision.area_tables`.
        num_classes: K.
        buckets: of the K classes.

    Returns:
        The metrics, and the mean precision over classes at the 101 recalls of each group; None for a group without a
        class with ground truth.
    """
    metrics: dict[str, float] = {}
    recalls: dict[str, float] = {}
    remaining = iter(tables)
    table = next(remaining)
    members = {name: _rows(table, buckets.members(bucket)) for bucket, name in enumerate(buckets.names)}
    metrics["AP"] = percent_mean(_by_class_last(table.precision))
    metrics["AP50"] = percent_mean(table.precision[:, 0].T)
    metrics["AP75"] = percent_mean(table.precision[:, 5].T)
    recalls["AR"] = percent_mean(table.recall.T)
    of_buckets = {
        group_metric(name): percent_mean(_by_class_last(table.precision[rows])) for name, rows in members.items()
    }
    recalls_of_buckets = {
        group_metric(name, "AR"): percent_mean(table.recall[rows].T) for name, rows in members.items()
    }
    class_ap, class_ar = np.full(num_classes, np.nan), np.full(num_classes, np.nan)
    class_ap[table.classes] = [percent_mean(values) for values in table.precision]
    class_ar[table.classes] = [percent_mean(values) for values in table.recall]
    curves = _curves(table, members)
    del table
    for size, table in zip("sml", remaining, strict=True):
        metrics[f"AP{size}"] = percent_mean(_by_class_last(table.precision))
        recalls[f"AR{size}"] = percent_mean(table.recall.T)
        del table
    sizes = {
        name: int(np.isfinite(class_ap[buckets.members(bucket)]).sum()) for bucket, name in enumerate(buckets.names)
    }
    return BucketAP(metrics | of_buckets | recalls | recalls_of_buckets, class_ap, class_ar, sizes), curves


def _rows(table: AreaTable, classes: Ints) -> Ints:
    """The rows of a table that are of some classes."""
    return np.flatnonzero(np.isin(table.classes, classes))


def _by_class_last(precision: Floats) -> Floats:
    """(L, T, R) as (T, R, L): the order in which the official packages add up the values."""
    return precision.transpose(1, 2, 0)


def _curves(table: AreaTable, members: Mapping[str, Ints]) -> dict[str, PrecisionRecall | None]:
    groups = {ALL: np.arange(len(table.classes)), **members}
    result: dict[str, PrecisionRecall | None] = {}
    for name, rows in groups.items():
        if len(rows):
            mean = table.precision[rows].mean(axis=0)
            result[name] = PrecisionRecall(
                iou_50=mean[0].tolist(), iou_75=mean[5].tolist(), mean=mean.mean(axis=0).tolist()
            )
        else:
            result[name] = None
    return result


def percent_mean(values: Floats) -> float:
    """Mean in percent of the values that are not -1; nan if there are none."""
    flat = values.ravel()
    if flat.size and flat.min() <= -1:
        flat = flat[flat > -1]
    return float(np.mean(flat)) * 100 if flat.size else math.nan
