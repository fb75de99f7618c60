"""Read ``evaluation.json`` files, and refuse what is not one before anything is drawn from it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lt_det.errors import LtDetError
from lt_det.statistics.buckets import UNSEEN, metric_name

TASK_NAMES = {"bbox": "Boxes", "segm": "Masks"}
ALL = "all"  # the group of all classes, beside the buckets

_PLACES, _UNSEEN_PLACE = (0, 1, 2, 3, 5, 6, 7), 4

# What files of earlier versions lack is read as null, and its section is left out.
_OPTIONAL = ("num_images", "fingerprint", "ground_truth", "image_root", "results")
_OPTIONAL_OF_TASK = ("class_ar", "intervals", "resamples", "precision_recall", "errors", "calibration")


def read_evaluations(output_dir: Path) -> dict[str, dict[str, Any]]:
    """The evaluations in a training's output folder.

    Args:
        output_dir: ``inference/<set>/evaluation.json`` are read.

    Returns:
        The name of each set's folder, to the content of its file; every optional key is there, null if it was missing.

    Raises:
        LtDetError: nothing has been evaluated there, or a file is not an evaluation.
    """
    files = sorted(output_dir.glob("inference/*/evaluation.json"))
    if not files:
        raise LtDetError(
            f"{output_dir} has no inference/*/evaluation.json; train there first, run tools/train_net.py with "
            "--eval-only, or lt-det evaluate with --out."
        )
    return {file.parent.name: read_evaluation(file) for file in files}


def read_evaluation(file: Path) -> dict[str, Any]:
    """One file; `read_evaluations` says what is raised."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"), parse_constant=_no_number)
        _check(content)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else error
        raise LtDetError(f"{file} is not an evaluation written by lt_det ({what}); evaluate again.") from None
    return content


def bucket_names(evaluation: dict[str, Any]) -> list[str]:
    """From seldom to often."""
    return list(evaluation["buckets"]["names"])


def group_metric(group: str, kind: str = "AP") -> str:
    """Name of the metric of a bucket or of all classes: ``AP``, ``APr``, ``AR-unseen``."""
    return kind if group == ALL else metric_name(group, kind)


def bucket_index(evaluation: dict[str, Any], entry: dict[str, Any]) -> int | None:
    """A class's place among the buckets."""
    return None if entry["bucket"] is None else bucket_names(evaluation).index(entry["bucket"])


def bucket_places(names: Sequence[str]) -> dict[str, int]:
    """Which of the eight looks each bucket has: a bucket has the same one beside "unseen" as without it."""
    seen = [name for name in names if name != UNSEEN]
    return {UNSEEN: _UNSEEN_PLACE} | {name: _PLACES[index % len(_PLACES)] for index, name in enumerate(seen)}


def _no_number(constant: str) -> None:
    raise ValueError(f"{constant} is not a number")


def _check(content: dict[str, Any]) -> None:
    """Raise KeyError, ValueError, TypeError or AttributeError; fill in optional keys."""
    for key in ("dataset", "protocol"):
        _require(isinstance(content[key], str), key)
    for key in _OPTIONAL:
        content.setdefault(key, None)
    buckets = content["buckets"]
    _require(all(isinstance(name, str) for name in buckets["names"]), "buckets")
    _require(isinstance(buckets["by"], str), "buckets")
    _require(buckets["edges"] is None or _are_numbers(buckets["edges"], len(buckets["edges"])), "buckets")
    for entry in content["classes"]:
        _require(isinstance(entry["name"], str) and entry["bucket"] in [None, *buckets["names"]], "classes")
        for key in ("id", "objects"):
            entry.setdefault(key, None)
        _require(_are_numbers([entry["images"], entry["objects"]], 2), "classes")
        _require(isinstance(entry["id"], int | str | None), "classes")
    _require(len(content["tasks"]) > 0 and set(content["tasks"]) <= set(TASK_NAMES), "tasks")
    for result in content["tasks"].values():
        _check_task(result, list(buckets["names"]), len(content["classes"]))


def _check_task(result: dict[str, Any], buckets: list[str], num_classes: int) -> None:
    for key in _OPTIONAL_OF_TASK:
        result.setdefault(key, None)
    metrics = result["metrics"]
    _require(_are_numbers(list(metrics.values()), len(metrics)), "metrics")
    for name in ("AP", "AP50", "AP75", *map(group_metric, buckets)):
        _require(name in metrics, f"metrics without {name}")
    _require(_are_numbers([result["bucket_sizes"][name] for name in buckets], len(buckets)), "bucket_sizes")
    _require(_are_numbers(result["class_ap"], num_classes), "class_ap")
    _require(result["class_ar"] is None or _are_numbers(result["class_ar"], num_classes), "class_ar")
    for interval in (result["intervals"] or {}).values():
        _require(interval is None or (None not in interval and _are_numbers(interval, 2)), "intervals")
    if resamples := result["resamples"]:
        _require({"seed", "images", "values"} <= set(resamples), "resamples")
        for values in resamples["values"].values():
            _require(_are_numbers(values, len(values)), "resamples")
    groups = [ALL, *buckets]
    if curves := result["precision_recall"]:
        for group in groups:
            for key in ("0.5", "0.75", "mean"):
                _require(curves[group] is None or _are_numbers(curves[group][key], 101), "precision_recall")
    if errors := result["errors"]:
        _require(_are_numbers([errors["iou"], errors["background_iou"]], 2), "errors")
        for kind in errors["types"]:
            for group in groups:
                loss = errors["loss"][group]
                _require(loss is None or _are_numbers([loss[kind]], 1), "errors")
            _require(_are_numbers(errors["class_loss"][kind], num_classes), "errors")
    if calibration := result["calibration"]:
        bins = len(calibration["edges"]) - 1
        for group in groups:
            if entry := calibration["groups"][group]:
                _require(_are_numbers([entry["ece"]], 1), "calibration")
                for key in ("count", "score", "precision"):
                    _require(_are_numbers(entry[key], bins), "calibration")


def _are_numbers(values: Any, length: int) -> bool:
    """Whether `values` is a list of so many finite numbers or nulls."""
    return (
        isinstance(values, list)
        and len(values) == length
        and all(value is None or (isinstance(value, int | float) and math.isfinite(value)) for value in values)
    )


def _require(good: bool, what: str) -> None:
    if not good:
        raise ValueError(f"{what}: not as expected")
