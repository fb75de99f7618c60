"""Add a finished run to the row of its config."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgspec

from lt_det.errors import LtDetError
from lt_det.evaluation.schema import Evaluation, read_evaluation
from lt_det.terminal import count_of
from lt_det.zoo.rows import Metrics, Row, Run, Task, read_row, row_file, write_row
from lt_det.zoo.run_folder import RunFolder, read_run
from lt_det.zoo.shipped_config import check_starts, claimed_config, overrides_of

ROWS = Path("zoo/rows")
_KEYS_SHOWN = 8


def add_run(
    folder: str | Path,
    out: Path | None = None,
    *,
    config: str | None = None,
    allow_overrides: bool = False,
    commit: str | None = None,
    hardware: str | None = None,
) -> tuple[Path, Row]:
    """Add a finished run to its config's row, for a pull request. Run it in the root of a clone.

    Args:
        folder: OUTPUT_DIR of the run.
        out: folder of rows; a row that it lacks is created. None: zoo/rows.
        config: path or name of the run's shipped config; None: the one in its log.
        allow_overrides: whether the run may differ from the config; the row then records the keys that differ.
        commit, hardware: those of the run, if its log does not have them.

    Returns:
        File of the row, and the row.

    Raises:
        LtDetError: the run is not finished or not evaluated, differs from its config, is in the row already, or a file
            cannot be read.
    """
    run = read_run(folder)
    _check_finished(run)
    check_starts(run)
    claimed = claimed_config(run, config)
    overrides = overrides_of(run, claimed)
    if overrides and not allow_overrides:
        shown = [f"{key} {value}" for key, value in overrides.items()][:_KEYS_SHOWN]
        more = f" and {len(overrides) - _KEYS_SHOWN} more" if len(overrides) > _KEYS_SHOWN else ""
        raise LtDetError(
            f"{run.folder} differs from {claimed} in {', '.join(shown)}{more}; if it was trained with another "
            "shipped config, name that with --config; otherwise add --allow-overrides to record these keys in the row."
        )
    added = _run_of(run, overrides, commit, hardware)
    if out is None:
        out = ROWS
        if not out.is_dir():
            raise LtDetError(
                f"There is no folder {ROWS} here; run the command in the root of a clone, or add --out DIR."
            )
    file = row_file(out, claimed)
    row = read_row(file) if file.is_file() else Row(config=claimed)
    _check_fits(added, row, file)
    row = msgspec.structs.replace(row, runs=[*row.runs, added])
    return write_row(row, out), row


def _check_finished(run: RunFolder) -> None:
    planned = run.cfg.SOLVER.MAX_ITER
    if run.iterations < planned:
        raise LtDetError(
            f"{run.folder} has logged {run.iterations} of {planned} iterations; finish it with --resume, "
            "and then add it."
        )
    if run.iterations > planned:
        raise LtDetError(
            f"{run.folder} has logged {count_of(run.iterations, 'iteration')}, but its config.yaml has SOLVER.MAX_ITER "
            f"{planned}; train in a folder of its own."
        )


def _run_of(run: RunFolder, overrides: dict[str, Any], commit: str | None, hardware: str | None) -> Run:
    if len(run.cfg.DATASETS.TEST) != 1:
        raise LtDetError(
            f"{run.folder} has {count_of(len(run.cfg.DATASETS.TEST), 'set')} in DATASETS.TEST; a row needs exactly one."
        )
    dataset = run.cfg.DATASETS.TEST[0]
    file = run.folder / "inference" / dataset / "evaluation.json"
    if not file.is_file():
        raise LtDetError(
            f"{run.folder} has no inference/{dataset}/evaluation.json; repeat the command of its training with "
            "--resume, which evaluates it."
        )
    evaluation = read_evaluation(file)
    return Run(
        seed=run.cfg.SEED if run.cfg.SEED >= 0 else None,
        overrides=overrides,
        iterations=run.cfg.SOLVER.MAX_ITER,
        metrics=_metrics(run, evaluation, file),
        dataset=dataset,
        fingerprint=evaluation.fingerprint,
        commit=commit or run.log.commit,
        hardware=hardware or run.log.hardware,
        software=run.log.software,
    )


def _metrics(run: RunFolder, evaluation: Evaluation, file: Path) -> dict[Task, Metrics]:
    """AP of each task, if evaluation.json is that of the end of the training."""
    found: dict[Task, Metrics] = {}
    for task, result in evaluation.tasks.items():
        ap = result.metrics["AP"]
        if ap is None:
            raise LtDetError(
                f"{file}: {task} AP is null, so nothing was evaluated; evaluate on a set with annotations."
            )
        line = run.first_line(f"{task}/AP", run.cfg.SOLVER.MAX_ITER - 1)
        if line is None:
            raise LtDetError(
                f"{run.folder}/metrics.json has no {task}/AP for the end of the training; repeat its command with "
                "--resume, which evaluates it."
            )
        logged = line[f"{task}/AP"]
        if not math.isclose(ap, logged, abs_tol=1e-6):
            raise LtDetError(
                f"{file} has {task} AP {ap:.3f}, but the training ended with {logged:.3f}: it is an evaluation of "
                "other weights or data; repeat the command of the training with --resume, which evaluates "
                "its last checkpoint."
            )
        found[task] = {name: value for name, value in result.metrics.items() if name.startswith("AP")}
    return found


def _check_fits(added: Run, row: Row, file: Path) -> None:
    for other in row.runs:
        if (other.seed, other.overrides, other.metrics) == (added.seed, added.overrides, added.metrics):
            raise LtDetError(f"{file} already has this run of seed {added.seed}; add another one.")
        known = None not in (other.fingerprint, added.fingerprint)
        if other.dataset == added.dataset and known and other.fingerprint != added.fingerprint:
            raise LtDetError(
                f"{file} has a run that was evaluated on a different {added.dataset}, with other images, annotations "
                "or rules; evaluate on the same data."
            )
