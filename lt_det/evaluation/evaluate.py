"""Judge a COCO-style results file, of any framework, without a model."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lt_det.errors import LtDetError
from lt_det.evaluation.federated import check_lists
from lt_det.evaluation.io.coco_results import Results
from lt_det.evaluation.matching.detections import Detections
from lt_det.evaluation.matching.ground_truth import GroundTruth
from lt_det.evaluation.matching.match import match
from lt_det.evaluation.metrics.bucket_ap import default_buckets
from lt_det.evaluation.metrics.tide import find_errors
from lt_det.evaluation.progress import Track
from lt_det.evaluation.protocols import Protocol, Task
from lt_det.evaluation.schema import evaluation_record
from lt_det.evaluation.summarize import judge
from lt_det.statistics.buckets import FrequencyBuckets
from lt_det.statistics.class_stats import ClassStats

logger = logging.getLogger(__name__)

_NOTEWORTHY = 0.1  # of the images with objects: that so many have no detection is hardly the detector's doing


def evaluate_files(
    ground_truth: str | os.PathLike[str],
    data: dict[str, Any],
    results: Results,
    protocol: Protocol,
    tasks: Sequence[Task],
    buckets: FrequencyBuckets,
    stats: ClassStats | None = None,
    *,
    draws: int = 0,
    results_file: str | os.PathLike[str] | None = None,
    image_root: str | os.PathLike[str] | None = None,
    track: Callable[[str], Track] = lambda _: iter,
) -> dict[str, Any]:
    """
    Args:
        ground_truth: name of the COCO- or LVIS-format json.
        data: its content, see `load_annotations`.
        results: see `load_results`, for these tasks.
        protocol: whose rules count.
        tasks: overlap of boxes, masks or both.
        buckets: see `buckets_for`.
        stats: of the TRAINING set, for the report; None if they are not known.
        draws: of the bootstrap, for the intervals; 0: none.
        results_file, image_root: where the results and the images are, for the report's examples.
        track: from the name of a step to what wraps its loop, to show its progress.

    Returns:
        the content of an ``evaluation.json``, see `evaluation_record`.

    Raises:
        LtDetError: files that do not belong together, or a json without the lists that LVIS's rules need or the
            outlines that masks need.
    """
    if protocol.federated:
        check_lists(ground_truth, data["images"], protocol, "use --protocol coco")
    if "segm" in tasks:
        _check_outlines(ground_truth, data["annotations"])
    truth = GroundTruth.from_json(data)
    outcome = {}
    for task in tasks:
        detections = Detections.from_results(results, truth, task)
        _warn(detections, truth, task)
        if task == tasks[0]:
            _warn_of_parts(detections, truth)
        steps = track(f"Matching {task}")
        if protocol.pooled:  # which has no error view
            matches, errors = match(truth, detections, task, protocol, track=steps), None
        else:
            matches, errors = find_errors(truth, detections, task, protocol, track=steps)
        resampling = track(f"Resampling {task} for the intervals")
        outcome[task] = judge(truth, matches, protocol, buckets, errors=errors, draws=draws, track=resampling)
    return evaluation_record(
        Path(ground_truth).stem,
        protocol,
        truth,
        [str(category["name"]) for category in _by_id(data["categories"])],
        buckets,
        stats,
        outcome,
        ground_truth=os.path.abspath(ground_truth),
        image_root=None if image_root is None else os.path.abspath(image_root),
        detections=None if results_file is None else os.path.abspath(results_file),
    )


def buckets_for(
    ground_truth: str | os.PathLike[str],
    data: dict[str, Any],
    stats: ClassStats | None,
    chosen: FrequencyBuckets | None = None,
) -> FrequencyBuckets:
    """The buckets that a user chose for the classes of `stats`, or else `default_buckets`; warns of classes in none.

    Raises:
        LtDetError: counts of other classes.
    """
    categories = _by_id(data["categories"])
    if stats is not None:
        stats.check_names([str(category["name"]) for category in categories], str(ground_truth))
    buckets = chosen or default_buckets(categories, stats)
    missing = int((buckets.assignment < 0).sum())
    if missing and chosen:
        logger.warning("%d of %d classes of %s are in no bucket of the map.", missing, len(categories), ground_truth)
    elif missing == len(categories):
        logger.warning("%s names no buckets; give --train-stats, or every bucket is n/a.", ground_truth)
    elif missing:
        logger.warning(
            "%d of %d classes of %s name no bucket and are in none; give --train-stats.",
            missing,
            len(categories),
            ground_truth,
        )
    return buckets


def _check_outlines(ground_truth: str | os.PathLike[str], annotations: list[dict[str, Any]]) -> None:
    """Boxes stand in for missing outlines, and masks that are judged by boxes are worse than they are."""
    without = sum(not annotation.get("segmentation") for annotation in annotations)
    if without and without == len(annotations):
        raise LtDetError(f"{ground_truth} has no outlines ('segmentation') to judge masks by; leave segm out of --iou.")
    if without:
        logger.warning("%d of %d objects have no outline; their boxes stand in.", without, len(annotations))


def _by_id(categories: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(categories, key=lambda category: category["id"])


def _warn(detections: Detections, truth: GroundTruth, task: Task) -> None:
    """Count what is odd; each of these is judged as the official tools judge it."""
    if task == "bbox":
        flat = int((detections.boxes[:, 2:] <= 0).any(axis=1).sum())
        if flat:
            logger.warning("%d boxes have no width or no height; they match nothing.", flat)
    elif detections.masks:
        sizes = np.asarray([mask["size"] for mask in detections.masks])
        other = int((sizes != truth.sizes[detections.images]).any(axis=1).sum())
        if other:
            logger.warning("%d masks have another size than their image; they match nothing.", other)
    twice = _num_repeated(detections)
    if twice:
        shapes = "boxes" if task == "bbox" else "masks"
        logger.warning("%d %s are repetitions of others, with the same image, class and score.", twice, shapes)


def _warn_of_parts(detections: Detections, truth: GroundTruth) -> None:
    """Images that the results leave out count as images where nothing is found."""
    if not len(detections):
        logger.warning("There is no detection: the AP of every class that occurs is 0.")
        return
    with_objects = np.diff(truth.start) > 0
    found = np.zeros(len(with_objects), dtype=np.bool_)
    found[detections.images] = True
    without, objects = int((with_objects & ~found).sum()), int(with_objects.sum())
    if without and without >= _NOTEWORTHY * objects:
        logger.warning(
            "%d of %d images with objects have no detection; is this the json that was predicted on?", without, objects
        )


def _num_repeated(detections: Detections) -> int:
    """How many are equal to another before them. Sorted by a hash, which is far quicker than by seven columns."""
    columns = [detections.images, detections.classes, detections.scores, *detections.boxes.T]
    if detections.masks is not None:
        # A text and its bytes have one hash, and two that differ have one in 2**64 cases.
        columns.append(np.asarray([hash(mask["counts"]) for mask in detections.masks], dtype=np.int64))
    mixed = np.zeros(len(detections), dtype=np.uint64)
    for column in columns:
        mixed ^= (column.astype(np.float64) + 0.0).view(np.uint64)  # -0.0 is 0.0
        mixed *= np.uint64(0x9E3779B97F4A7C15)  # odd, without a pattern in its bits
        mixed ^= mixed >> np.uint64(32)
    order = np.argsort(mixed)
    before, after = order[:-1], order[1:]
    alike = mixed[before] == mixed[after]
    before, after = before[alike], after[alike]
    return int(np.logical_and.reduce([column[before] == column[after] for column in columns]).sum())
