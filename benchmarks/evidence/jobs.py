"""How a job of a plan runs, and what is kept of it."""

from __future__ import annotations

import json
import os
import statistics
import sys
from pathlib import Path
from typing import Any

from benchmarks.evidence.plan import Job, Plan
from benchmarks.evidence.rows import circumstances, draws_of, metrics_of, read_row, write_row

_WEIGHTS = "model_final.pth"
_EVALUATION = "inference/mini_lvis_val/evaluation.json"
_NOTES = "circumstances.json"
_ADJUSTED = "calibration.json"  # what `lt-det adjust` writes
_SECONDS_PER_ITERATION = 0.33  # on one idle core, where there are no results to take it from
_EVALUATION_ITERATIONS = 100  # an evaluation takes as long as so many iterations


def command(job: Job, work: Path) -> list[str]:
    """The process of a job; it goes on where an earlier one was interrupted."""
    folder = work / job.name
    if job.is_training:
        program = ["-m", "benchmarks.evidence.variants"] if job.variant else ["tools/train_net.py"]
        words = [sys.executable, *program, "--config", job.config, "--resume"]
    else:
        words = [sys.executable, "-m", "lt_det.cli", "adjust", "--config", job.config]
    words += ["OUTPUT_DIR", str(folder), *job.overrides]
    return [*words, "MODEL.WEIGHTS", str(work / job.detector.name / _WEIGHTS)] if job.detector else words


def environment(datasets: Path) -> dict[str, str]:
    """One thread, so that the sums of a training have one order, and a job takes one core."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "DETECTRON2_DATASETS": str(datasets)}


def is_evaluated(job: Job, work: Path) -> bool:
    """Whether other jobs can start from the detector of this one: it is trained and evaluated."""
    return (work / job.name / _WEIGHTS).is_file() and (work / job.name / _EVALUATION).is_file()


def start_notes(job: Job, work: Path) -> None:
    """Note commit, versions and machine; those of the first start, if the job is interrupted."""
    folder = work / job.name
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / _NOTES).is_file():
        (folder / _NOTES).write_text(json.dumps({**circumstances(), "threads": 1, "seconds": 0}))


def add_seconds(job: Job, work: Path, seconds: float) -> None:
    """Add to the CPU time that a job has taken, over all of its interruptions."""
    file = work / job.name / _NOTES
    notes = json.loads(file.read_text())
    file.write_text(json.dumps({**notes, "seconds": round(notes["seconds"] + seconds)}))


def keep_result(job: Job, plan: Plan, work: Path) -> Path:
    """Write what is kept of a finished job to the results."""
    folder = work / job.name
    kind, name = job.name.split("/")
    row: dict[str, Any] = {"config": job.config, "overrides": list(job.overrides), "iterations": job.iterations}
    row |= {"seed": job.seed, "dataset": {"name": job.dataset, **plan.datasets.get(job.dataset, {})}}
    row |= json.loads((folder / _NOTES).read_text())
    if job.variant:
        row["variant"] = True
    if job.detector:
        row["detector"] = {"name": job.detector.name, "metrics": _metrics(work / job.detector.name)}
    if not job.is_training:
        adjusted = json.loads((folder / _ADJUSTED).read_text())
        row["values"] = {f"{one['value']:g}": metrics_of(one) for one in adjusted["grid"]}
        return write_row(kind, name, row)
    boxes = _boxes(folder)
    row["metrics"] = metrics_of(boxes["metrics"])
    row["class_images"] = json.loads((folder / "class_stats.json").read_text())["image_counts"]
    row["class_ap"] = [None if ap is None else round(ap, 2) for ap in boxes["class_ap"]]
    file = write_row(kind, name, row)
    if job.dataset != plan.search.get("dataset") and boxes.get("resamples"):
        write_row(f"draws/{kind}", name, draws_of(boxes["resamples"]))
    return file


def remove_checkpoints(job: Job, work: Path) -> None:
    """Remove the checkpoints of a finished training, but not its last weights: a plan's would take 10 GB."""
    for checkpoint in (work / job.name).glob("model_[0-9]*.pth"):
        checkpoint.unlink()


def add_missing_draws(job: Job, work: Path) -> bool:
    """Keep the draws of a training that was run again, if its result has none; whether its metrics are the same."""
    return add_draws(job.name, work / job.name, (job.result() or {})["metrics"])


def add_draws(name: str, folder: Path, metrics: dict[str, float | None]) -> bool:
    """Keep the draws of the evaluation in a folder, if there are none of this name; whether its metrics are these."""
    kind, stem = name.split("/")
    boxes = _boxes(folder)
    same = metrics_of(boxes["metrics"]) == metrics
    if same and boxes.get("resamples") and read_row(f"draws/{kind}", stem) is None:
        write_row(f"draws/{kind}", stem, draws_of(boxes["resamples"]))
    return same


def _boxes(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / _EVALUATION).read_text())
    return content["tasks"]["bbox"]


def _metrics(folder: Path) -> dict[str, float | None]:
    return metrics_of(_boxes(folder)["metrics"])


def iterations_done(job: Job, work: Path) -> int:
    """How far a training is, by the last line of its metrics.json."""
    try:
        lines = (work / job.name / "metrics.json").read_text().splitlines()
        return int(json.loads(lines[-1])["iteration"]) + 1
    except (OSError, ValueError, IndexError):
        return 0


class Estimate:
    """How long jobs take: by the results of the same row, else of all trainings, else by an idle core."""

    def __init__(self, jobs: list[Job]) -> None:
        self._of_row: dict[str, list[float]] = {}
        for job in jobs:
            result = job.result() or {}
            if result.get("seconds"):
                self._of_row.setdefault(job.row, []).append(result["seconds"] / _cost(job.iterations))
        everything = [seconds for row in self._of_row.values() for seconds in row]
        self._default = statistics.median(everything) if everything else _SECONDS_PER_ITERATION

    def seconds(self, job: Job, done: int = 0) -> float:
        """Of one core, for what is left after `done` iterations."""
        known = self._of_row.get(job.row)
        return (statistics.median(known) if known else self._default) * _cost(max(job.iterations - done, 0))


def _cost(iterations: int) -> int:
    """In iterations; a post-hoc adjustment evaluates some values in one pass."""
    return iterations + _EVALUATION_ITERATIONS if iterations else 3 * _EVALUATION_ITERATIONS
