"""Precision tables of the reference implementations, `lvis` and `pycocotools`, to check lt_det's against.

Both return an array (T, R, K, A): 10 IoU thresholds, 101 recalls, K classes, areas all / small / medium / large, with
-1 for a class without ground truth.
"""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import types
from collections.abc import Iterator
from typing import Any, Literal
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from lt_det.errors import LtDetError, import_problem
from lt_det.evaluation.matching.iou import to_rle
from lt_det.evaluation.metrics.bucket_ap import BucketAP, percent_mean, summarize
from lt_det.evaluation.protocols import Protocol, Task
from lt_det.io.shapes import box_polygon, usable_segmentation
from lt_det.statistics.buckets import FrequencyBuckets

_LOW_LIMITS = (1, 10)  # detections per image and class at which COCO also reports the recall


def official_table(
    protocol: Literal["lvis", "coco"],
    ground_truth: dict[str, Any],
    detections: list[dict[str, Any]],
    task: Task,
    per_image: int = 300,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Precision (T, R, K, A) and recall (T, K, A, M) under M limits on the detections, the last being the usual one.

    Args:
        protocol: "lvis" or "coco".
        ground_truth: COCO- or LVIS-format annotations.
        detections: COCO results; both libraries raise without any.
        task: overlap of boxes or of masks.
        per_image: detections that count per image under "lvis"; -1 for all.
    """
    ground_truth = _completed(ground_truth)
    # Both libraries write into the detections; if masks had a bbox too, the area would be that of the box.
    drop = {"bbox"} if task == "segm" else {"segmentation"}
    detections = [{key: value for key, value in d.items() if key not in drop} for d in detections]
    if task == "segm":
        sizes = {image["id"]: (image["height"], image["width"]) for image in ground_truth["images"]}
        for detection in detections:
            detection["segmentation"] = to_rle(detection["segmentation"], *sizes[detection["image_id"]])
    if protocol == "lvis":
        return _lvis(ground_truth, detections, task, per_image)
    return _coco(ground_truth, detections, task)


def _lvis(
    ground_truth: dict[str, Any], detections: list[dict[str, Any]], task: Task, per_image: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    try:
        import lvis.eval
        from lvis import LVIS, LVISEval, LVISResults
    except ImportError as error:
        raise LtDetError(f"The check needs {import_problem(error, 'lvis', 'pip install lvis')}.") from error

    class LoadedLVIS(LVIS):  # type: ignore[misc]
        """LVIS annotations from memory instead of a file."""

        def _load_json(self, path: Any) -> Any:
            return path

    # Only in lvis: NumPy itself stays as it is for everybody else.
    with mock.patch.object(lvis.eval, "np", _NumpyWithFloat("numpy")), _quiet():
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
        evaluation.params.maxDets = [*_LOW_LIMITS, 100]
        evaluation.evaluate()
        evaluation.accumulate()
    return np.asarray(evaluation.eval["precision"])[..., -1], np.asarray(evaluation.eval["recall"])


def _completed(ground_truth: dict[str, Any]) -> dict[str, Any]:
    """A copy with what both libraries require: fields that a user's json may lack, and unique annotation ids."""
    data = copy.copy(ground_truth)
    data.setdefault("info", {})
    data["images"] = [{"neg_category_ids": [], "not_exhaustive_category_ids": [], **_known(i)} for i in data["images"]]
    # lvis requires a bucket per class; the buckets are applied later.
    data["categories"] = [{**category, "frequency": "f"} for category in data["categories"]]
    data["annotations"] = [
        {
            "iscrowd": 0,
            "area": a["bbox"][2] * a["bbox"][3],
            **_known(a),
            "segmentation": usable_segmentation(a) or [box_polygon(a["bbox"])],
            "id": number,
        }
        for number, a in enumerate(data["annotations"], start=1)
    ]
    return data


def _known(entry: dict[str, Any]) -> dict[str, Any]:
    """The fields of an entry that are not null."""
    return {key: value for key, value in entry.items() if value is not None}


class _NumpyWithFloat(types.ModuleType):
    """NumPy with `np.float`, which lvis 0.5.3 uses and NumPy 1.24 removed."""

    float = float

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the progress that both libraries print and log."""
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
    """Metrics of the official package on the same files, under one of lt_det's protocols.

    Raises:
        LtDetError: the package is not installed, or there are no detections, on which it fails.
    """
    if not results:
        raise LtDetError("The official packages fail on a file without detections; leave out --cross-check.")
    if protocol.per_class is not None:
        by_class: dict[Any, list[dict[str, Any]]] = {}
        for result in sorted(results, key=lambda result: -result["score"]):
            by_class.setdefault(result["category_id"], []).append(result)
        results = [result for detections in by_class.values() for result in detections[: protocol.per_class]]
    name: Literal["lvis", "coco"] = "lvis" if protocol.federated else "coco"
    limit = -1 if protocol.per_image is None else protocol.per_image
    precision, recall = official_table(name, data, results, task, limit)
    summary = summarize(precision, recall[..., -1], buckets)
    for number, low_recall in zip(_LOW_LIMITS, np.moveaxis(recall, -1, 0)[:-1], strict=False):
        summary.metrics[f"AR{number}"] = percent_mean(low_recall[..., 0])
    return summary
