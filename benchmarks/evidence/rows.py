"""Raw results as small json files: results/KIND/NAME.json, one for each training, adjustment or bake-off."""

from __future__ import annotations

import json
import os
import platform
import re
from pathlib import Path
from typing import Any

import detectron2
import torch

from benchmarks.gpu.machine import commit
from lt_det.io.atomic import write_atomically
from lt_det.training.log.environment import processor

RESULTS = Path(__file__).parent / "results"
DRAWN = ("AP", "APr", "APc", "APf")  # the metrics whose bootstrap draws are kept
METRICS = ("AP", "APr", "APc", "APf", "AP50", "AP75", "ARr", "ARc", "ARf")


def circumstances() -> dict[str, Any]:
    """Commit, versions and machine."""
    return {
        "commit": commit(),
        "torch": torch.__version__,
        "detectron2": detectron2.__version__,
        "python": platform.python_version(),
        "processor": processor(),
        "threads": int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)),
    }


def write_row(kind: str, name: str, row: dict[str, Any]) -> Path:
    """Write results/KIND/NAME.json, with lists of numbers on one line."""
    file = RESULTS / kind / f"{name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(row, indent=1, allow_nan=False)
    text = re.sub(r"\[\s+([-+\d.,\snule]+?)\s+\]", lambda match: f"[{' '.join(match[1].split())}]", text)
    write_atomically(file, (text + "\n").encode())
    return file


def read_row(kind: str, name: str) -> dict[str, Any] | None:
    """results/KIND/NAME.json; None if there is no such result."""
    file = RESULTS / kind / f"{name}.json"
    return json.loads(file.read_text()) if file.is_file() else None


def read_rows(kind: str) -> dict[str, dict[str, Any]]:
    """All rows of a kind, by name."""
    return {file.stem: json.loads(file.read_text()) for file in sorted((RESULTS / kind).glob("*.json"))}


def read_training_rows() -> dict[str, dict[str, Any]]:
    """By KIND/NAME: all results of trainings and adjustments, which are those with config and overrides."""
    found = {}
    for file in sorted(RESULTS.rglob("*.json")):
        row = json.loads(file.read_text())
        if "overrides" in row:
            found[file.relative_to(RESULTS).with_suffix("").as_posix()] = row
    return found


def metrics_of(values: dict[str, float | None]) -> dict[str, float | None]:
    return {name: values[name] for name in METRICS if name in values}


def draws_of(resamples: dict[str, Any]) -> dict[str, Any]:
    """The bootstrap draws of an evaluation, in hundredths of a point: with the same images, the n-th are paired."""
    values = {name: resamples["values"][name] for name in DRAWN if name in resamples["values"]}
    return {
        "seed": resamples["seed"],
        "images": resamples["images"],
        **{name: [None if draw is None else round(draw, 2) for draw in draws] for name, draws in values.items()},
    }
