"""Precision tables from the reference implementations, `lvis` and `pycocotools`.

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

from lt_det.annotations import box_outline, usable_outline

Task = Literal["bbox", "segm"]
Protocol = Literal["lvis", "coco"]

# Detections per image that each benchmark counts.
MAX_DETECTIONS = {"lvis": 300, "coco": 100}

# Areas in square pixels that both engines count as all, small, medium and large.
_AREAS = ((0, 1e10), (0, 32**2), (32**2, 96**2), (96**2, 1e10))


def precision_table(
    protocol: Protocol, ground_truth: dict[str, Any], detections: list[dict[str, Any]], task: Task
) -> NDArray[np.float64]:
    """
    Args:
        protocol: "lvis" (federated, 300 detections per image) or "coco" (crowds ignored, 100 per image).
        ground_truth: COCO- or LVIS-format annotations; classes are taken in the order of their ids.
        detections: COCO results: image_id, category_id, score, bbox and, for "segm", segmentation.
        task: overlap of boxes or of masks.
    """
    ground_truth = _completed(ground_truth)
    if not detections:
        return _nothing_found(ground_truth)
    # The engines write into the detections; with a bbox left in, mask areas would be box areas.
    drop = {"bbox"} if task == "segm" else {"segmentation"}
    detections = [{key: value for key, value in d.items() if key not in drop} for d in detections]
    engine = _lvis if protocol == "lvis" else _coco
    return engine(ground_truth, detections, task)


def _lvis(ground_truth: dict[str, Any], detections: list[dict[str, Any]], task: Task) -> NDArray[np.float64]:
    from lvis import LVIS, LVISEval, LVISResults

    class LoadedLVIS(LVIS):
        """Takes annotations in memory where the library takes a path."""

        def _load_json(self, path: Any) -> Any:
            return path

    with _numpy_with_float(), _quiet():
        gt = LoadedLVIS(ground_truth)
        results = LVISResults(gt, detections, max_dets=MAX_DETECTIONS["lvis"])
        evaluation = LVISEval(gt, results, task)
        evaluation.evaluate()
        evaluation.accumulate()
    return np.asarray(evaluation.eval["precision"])


def _coco(ground_truth: dict[str, Any], detections: list[dict[str, Any]], task: Task) -> NDArray[np.float64]:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with _quiet():
        gt = COCO()
        gt.dataset = ground_truth
        gt.createIndex()
        evaluation = COCOeval(gt, gt.loadRes(detections), task)
        evaluation.params.maxDets = [1, 10, MAX_DETECTIONS["coco"]]
        evaluation.evaluate()
        evaluation.accumulate()
    return np.asarray(evaluation.eval["precision"])[..., -1]


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


def _nothing_found(ground_truth: dict[str, Any]) -> NDArray[np.float64]:
    """Without a detection (where the engines raise) precision is 0 for each class and area with ground truth."""
    order = sorted(category["id"] for category in ground_truth["categories"])
    index = {id_: k for k, id_ in enumerate(order)}
    table = np.full((10, 101, len(order), 4), -1.0)
    for annotation in ground_truth["annotations"]:
        if not annotation["iscrowd"]:
            for area, (low, high) in enumerate(_AREAS):
                if low <= annotation["area"] <= high:
                    table[:, :, index[annotation["category_id"]], area] = 0.0
    return table


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
