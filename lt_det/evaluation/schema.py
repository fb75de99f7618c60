"""``evaluation.json``: what an evaluation found, for reports."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lt_det.errors import LtDetError
from lt_det.evaluation.matching.ground_truth import GroundTruth
from lt_det.evaluation.metrics.average_precision import objects_that_count
from lt_det.evaluation.metrics.bootstrap import SEED, fingerprint
from lt_det.evaluation.metrics.intervals import interval
from lt_det.evaluation.protocols import Protocol, Task
from lt_det.evaluation.summarize import TaskResult
from lt_det.io.atomic import write_whole
from lt_det.statistics.buckets import FrequencyBuckets
from lt_det.statistics.class_stats import ClassStats

RESULT_NAME = "evaluation.json"


def evaluation_record(
    dataset: str,
    protocol: Protocol,
    truth: GroundTruth,
    class_names: Sequence[str],
    buckets: FrequencyBuckets,
    stats: ClassStats | None,
    results: Mapping[Task, TaskResult],
    *,
    ground_truth: str | None,
    image_root: str | None,
    detections: str | None,
) -> dict[str, Any]:
    """The content of the file; null where there is nothing to average, or nothing is known.

    Args:
        dataset: name of the set.
        protocol, truth, class_names, buckets: what was judged by.
        stats: of the training set.
        results: per task.
        ground_truth: the json.
        image_root: folder of its images.
        detections: file of COCO results; a relative name is meant beside the record.
    """
    images = fingerprint(truth, protocol)
    objects = objects_that_count(truth, protocol)[:, 0]
    ids = truth.category_ids.tolist()
    return {
        "dataset": dataset,
        "protocol": protocol.name,
        "num_images": len(truth.image_ids),
        "fingerprint": images,
        "ground_truth": ground_truth,
        "image_root": image_root,
        "results": detections,
        "buckets": {"names": list(buckets.names), "by": buckets.by, "edges": buckets.edges},
        "classes": [
            {
                "name": name,
                "id": ids[k],
                "bucket": buckets.names[b] if (b := int(buckets.assignment[k])) >= 0 else None,
                "images": None if stats is None else int(stats.image_counts[k]),
                "objects": int(objects[k]),
            }
            for k, name in enumerate(class_names)
        ],
        "tasks": {task: _of_task(result, images) for task, result in results.items()},
    }


def write_record(content: Mapping[str, Any], folder: Path) -> None:
    """Write ``evaluation.json``; it appears whole or not at all.

    Raises:
        LtDetError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / RESULT_NAME, json.dumps(content, allow_nan=False) + "\n")
    except OSError as error:
        raise LtDetError(
            f"The evaluation cannot be written to {folder} ({error.strerror}); choose a folder with room."
        ) from None


def _of_task(result: TaskResult, images: str) -> dict[str, Any]:
    summary, draws = result.summary, result.draws
    return {
        "metrics": {name: _number(value) for name, value in summary.metrics.items()},
        "bucket_sizes": summary.bucket_sizes,
        "class_ap": _numbers(summary.class_ap),
        "class_ar": _numbers(summary.class_ar),
        "intervals": None
        if draws is None
        else {name: _interval(values, summary.metrics[name]) for name, values in draws.items()},
        "resamples": None
        if draws is None
        else {"seed": SEED, "images": images, "values": {name: _numbers(values) for name, values in draws.items()}},
        "precision_recall": result.precision_recall,
        "errors": result.errors,
        "calibration": result.calibration,
    }


def _interval(values: NDArray[np.float64], estimate: float) -> tuple[float, float] | None:
    """AP knows no values beyond 0 and 100, to which an interval may be moved."""
    ends = interval(values, estimate)
    return None if ends is None else (max(ends[0], 0.0), min(ends[1], 100.0))


def _numbers(values: Iterable[float]) -> list[float | None]:
    return [_number(value) for value in values]


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
