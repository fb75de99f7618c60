"""Precision tables from the reference implementations, `lvis` and `pycocotools`, to check ours against.

Both give an array (T, R, K, A): 10 IoU thresholds, 101 recalls, K classes, areas all / small / medium / large, with -1
for a class without ground truth.
"""

from __future__ import annotations

import contextlib
import copy
import io
import logging
from collections.abc import Iterator
from typing import Any, Literal
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from lt_det.errors import LtDetError
from lt_det.evaluation.matching.iou import run_lengths
from lt_det.evaluation.metrics.bucket_ap import BucketAP, summarize
from lt_det.evaluation.protocols import Protocol, Task
from lt_det.io.coco_json import box_outline, usable_outline
from lt_det.statistics.buckets import FrequencyBuckets

_FEW = (1, 10)  # detections of a class in an image, of which COCO also has the recall


def official_table(
    protocol: Literal["lvis", "coco"],
    ground_truth: dict[str, Any],
    detections: list[dict[str, Any]],
    task: Task,
    per_image: int = 300,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Precision (T, R, K, A) and recall (T, K, A, M), M limits on the detections, the last the usual one; without a
    detection both libraries raise.

    Args:
        protocol: "lvis" or "coco".
        ground_truth: COCO- or LVIS-format annotations.
        detections: COCO results.
        task: overlap of boxes or of masks.
        per_image: detections that count in an image under "lvis"; -1: all.
    """
    ground_truth = _completed(ground_truth)
    # The engines write into the detections; with a bbox left in, mask areas would be box areas.
    drop = {"bbox"} if task == "segm" else {"segmentation"}
    detections = [{key: value for key, value in d.items() if key not in drop} for d in detections]
    if task == "segm":
        sizes = {image["id"]: (image["height"], image["width"]) for image in ground_truth["images"]}
        for detection in detections:
            detection["segmentation"] = run_lengths(detection["segmentation"], *sizes[detection["image_id"]])
    if protocol == "lvis":
        return _lvis(ground_truth, detections, task, per_image)
    return _coco(ground_truth, detections, task)


def _lvis(
    ground_truth: dict[str, Any], detections: list[dict[str, Any]], task: Task, per_image: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    try:
        from lvis import LVIS, LVISEval, LVISResults
    except ImportError:
        raise LtDetError("The lvis package is not installed; pip install lvis, to check against it.") from None

    class LoadedLVIS(LVIS):
        """Takes annotations in memory where the library takes a path."""

        def _load_json(self, path: Any) -> Any:
            return path

    with _numpy_with_float(), _quiet():
        gt = LoadedLVIS(ground_truth)
        results = LVISResults(gt, detections, max_dets=per_image)
        evaluation = LVISEval(gt, results, task)
        evaluation.params.max_dets = per_image
        evaluation.evaluate()
        evaluation.accumulate()
    return np.asarray(evaluation.eval["precision"]), np.asarray(evaluation.eval["recall"])[..., None]


def _coco(
    ground_truth: dict[str, Any], detections: list[dict[str, Any]], task: Task
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with _quiet():
        gt = COCO()
        gt.dataset = ground_truth
        gt.createIndex()
        evaluation = COCOeval(gt, gt.loadRes(detections), task)
        evaluation.params.maxDets = [*_FEW, 100]
        evaluation.evaluate()
        evaluation.accumulate()
    return np.asarray(evaluation.eval["precision"])[..., -1], np.asarray(evaluation.eval["recall"])


def _completed(ground_truth: dict[str, Any]) -> dict[str, Any]:
    """A copy with what the engines insist on: fields a user's json may lack, and annotation ids of their own."""
    data = copy.copy(ground_truth)
    data.setdefault("info", {})
    data["images"] = [{"neg_category_ids": [], "not_exhaustive_category_ids": [], **_known(i)} for i in data["images"]]
    # lvis insists on a bucket per class; ours come later, from the training set.
    data["categories"] = [{**category, "frequency": "f"} for category in data["categories"]]
    data["annotations"] = [
        {
            "iscrowd": 0,
            "area": a["bbox"][2] * a["bbox"][3],
            **_known(a),
            "segmentation": usable_outline(a) or [box_outline(a["bbox"])],
            "id": number,
        }
        for number, a in enumerate(data["annotations"], start=1)
    ]
    return data


def _known(record: dict[str, Any]) -> dict[str, Any]:
    """A record without the fields that are null."""
    return {key: value for key, value in record.items() if value is not None}


@contextlib.contextmanager
def _numpy_with_float() -> Iterator[None]:
    """lvis 0.5.3 names `np.float`, which NumPy dropped in 1.24."""
    with contextlib.nullcontext() if hasattr(np, "float") else mock.patch.object(np, "float", float, create=True):
        yield


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Both engines print and warn about progress; our own log and table say what matters."""
    logger = logging.getLogger("lvis")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)


def official_metrics(
    data: dict[str, Any], results: list[dict[str, Any]], protocol: Protocol, buckets: FrequencyBuckets, task: Task
) -> BucketAP:
    """What the official package makes of the same files, under one of our protocols.

    Raises:
        LtDetError: the package is not installed, or there is no detection, at which it fails.
    """
    if not results:
        raise LtDetError("The official packages cannot judge a file without detections; leave out --cross-check.")
    if protocol.per_class is not None:
        by_class: dict[Any, list[dict[str, Any]]] = {}
        for result in sorted(results, key=lambda result: -result["score"]):
            by_class.setdefault(result["category_id"], []).append(result)
        results = [result for of_class in by_class.values() for result in of_class[: protocol.per_class]]
    name: Literal["lvis", "coco"] = "lvis" if protocol.federated else "coco"
    limit = -1 if protocol.per_image is None else protocol.per_image
    precision, recall = official_table(name, data, results, task, limit)
    summary = summarize(precision, recall[..., -1], buckets)
    for number, of_few in zip(_FEW, np.moveaxis(recall, -1, 0)[:-1], strict=False):
        known = of_few[..., 0][of_few[..., 0] > -1]
        summary.metrics[f"AR{number}"] = float(np.mean(known)) * 100 if known.size else np.nan
    return summary
