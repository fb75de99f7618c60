"""Precision tables of the reference implementations, `lvis` and `pycocotools`, to check lt_det's against.

Both return an array (T, R, K, A): 10 IoU thresholds, 101 recalls, K classes, areas all / small / medium / large, with
-1 for a class without ground truth.
"""

from __future__ import annotations

import contextlib
import io
import logging
import types
from collections.abc import Iterator
from typing import Any, Literal
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from lt_det.errors import LtDetError, import_problem
from lt_det.evaluation.io.official_input import OfficialInput, official_input
from lt_det.evaluation.metrics.bucket_ap import BucketAP, percent_mean, summarize
from lt_det.evaluation.protocols import AreaFrom, Protocol, Task
from lt_det.statistics.buckets import FrequencyBuckets

_LOW_LIMITS = (1, 10)  # detections per image and class at which COCO also reports the recall


def official_table(
    protocol: Literal["lvis", "coco"],
    ground_truth: dict[str, Any],
    detections: list[dict[str, Any]],
    task: Task,
    per_image: int = 300,
    per_image_and_class: int = 100,
    area_from: AreaFrom = "mask",
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Precision (T, R, K, A) and recall (T, K, A, M) under M limits on the detections, the last being the usual one.

    Args:
        protocol: "lvis" or "coco".
        ground_truth: COCO- or LVIS-format annotations.
        detections: COCO results; both libraries raise without any.
        task: overlap of boxes or of masks.
        per_image: detections that count per image under "lvis"; -1 for all.
        per_image_and_class: detections that count per image and class under "coco".
        area_from: see `official_input`.
    """
    federated = protocol == "lvis"
    given = official_input(ground_truth, detections, task, federated, area_from)
    return _lvis(given, task, per_image) if federated else _coco(given, task, per_image_and_class)


def _lvis(given: OfficialInput, task: Task, per_image: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
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
        gt = LoadedLVIS(given.ground_truth)
        results = LVISResults(gt, given.detections, max_dets=per_image)
        evaluation = LVISEval(gt, results, task)
        evaluation.params.max_dets = per_image
        evaluation.evaluate()
        evaluation.accumulate()
    return np.asarray(evaluation.eval["precision"]), np.asarray(evaluation.eval["recall"])[..., None]


def _coco(
    given: OfficialInput, task: Task, per_image_and_class: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with _quiet():
        gt = COCO()
        gt.dataset = given.ground_truth
        gt.createIndex()
        evaluation = COCOeval(gt, gt.loadRes(given.detections), task)
        limits = sorted({*_LOW_LIMITS, per_image_and_class})  # as pycocotools sorts them
        evaluation.params.maxDets = limits
        evaluation.evaluate()
        evaluation.accumulate()
    precision, recall = np.asarray(evaluation.eval["precision"]), np.asarray(evaluation.eval["recall"])
    order = [limits.index(limit) for limit in (*_LOW_LIMITS, per_image_and_class)]
    return precision[..., order[-1]], recall[..., order]


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
    data: dict[str, Any],
    results: list[dict[str, Any]],
    protocol: Protocol,
    buckets: FrequencyBuckets,
    task: Task,
    area_from: AreaFrom = "mask",
) -> tuple[BucketAP, list[str]]:
    """Metrics of the official package on the same files, under one of lt_det's protocols.

    Args:
        data: annotations as in the file, before lt_det's reading.
        results: COCO results as in the file.
        protocol, buckets, task: of the evaluation to check.
        area_from: see `official_input`.

    Returns:
        Metrics, and the notes of `official_input`.

    Raises:
        LtDetError: the package is not installed, or cannot take the files; both fail without a detection.
    """
    if not results:
        raise LtDetError("The official packages fail on a file without detections; leave out --cross-check.")
    package = "lvis" if protocol.federated else "pycocotools"
    try:
        if protocol.per_class is not None:
            by_class: dict[Any, list[dict[str, Any]]] = {}
            for result in sorted(results, key=lambda result: -result["score"]):
                by_class.setdefault(result["category_id"], []).append(result)
            results = [result for detections in by_class.values() for result in detections[: protocol.per_class]]
        given = official_input(data, results, task, protocol.federated, area_from)
        if protocol.federated:
            precision, recall = _lvis(given, task, -1 if protocol.per_image is None else protocol.per_image)
        else:
            precision, recall = _coco(given, task, protocol.per_image_and_class or -1)
    except LtDetError:
        raise
    except Exception as error:  # whatever a package raises on what it cannot take
        raise LtDetError(
            f"{package} cannot take these files as they are ({type(error).__name__}: {error}); correct them, or leave "
            "out --cross-check."
        ) from None
    summary = summarize(precision, recall[..., -1], buckets)
    for number, low_recall in zip(_LOW_LIMITS, np.moveaxis(recall, -1, 0)[:-1], strict=False):
        summary.metrics[f"AR{number}"] = percent_mean(low_recall[..., 0])
    return summary, given.notes
