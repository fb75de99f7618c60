"""Check a run, finished or not, against the gates of its config."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lt_det.data.class_counts import training_stats_or_none
from lt_det.statistics.class_stats import ClassStats
from lt_det.zoo.adding import ROWS
from lt_det.zoo.gates import Gate, gates_of
from lt_det.zoo.rows import Row, read_row, row_file
from lt_det.zoo.run_folder import RunFolder, read_run
from lt_det.zoo.shipped_config import claimed_config, overrides_of

Status = Literal["pass", "FAIL", "not reached"]


@dataclass(frozen=True)
class Verdict:
    """A gate, and what the run has there: `value` is None if it is not reached."""

    gate: Gate
    value: float | None

    @property
    def status(self) -> Status:
        if self.value is None:
            return "not reached"
        return "pass" if self.gate.passes(self.value) else "FAIL"


@dataclass(frozen=True)
class CheckedRun:
    """
    Attributes:
        config: shipped config of the run.
        overrides: keys in which the run differs from it; if there are any, its AP has no gates from the zoo.
        iterations, planned: logged, and of the whole schedule.
        verdicts: in the order of the schedule.
    """

    config: str
    overrides: dict[str, Any]
    iterations: int
    planned: int
    verdicts: list[Verdict]

    @property
    def failed(self) -> list[Gate]:
        """The gates that the run has reached and does not pass."""
        return [verdict.gate for verdict in self.verdicts if verdict.status == "FAIL"]


def check_run(folder: str | Path, config: str | None = None) -> CheckedRun:
    """Check a run in the root of a clone.

    Args:
        folder: OUTPUT_DIR of the run.
        config: path or name of its shipped config; None: the one in its log.

    Raises:
        LtDetError: see `read_run`, `claimed_config` and `read_row`.
    """
    run = read_run(folder)
    claimed = claimed_config(run, config)
    overrides = overrides_of(run, claimed)
    file = row_file(ROWS, claimed)
    row = read_row(file) if file.is_file() and not overrides else Row(config=claimed)
    gates = gates_of(run.cfg, _stats(run), row)
    verdicts = [Verdict(gate, _value(run, gate)) for gate in gates]
    return CheckedRun(claimed, overrides, run.iterations, run.cfg.SOLVER.MAX_ITER, verdicts)


def _value(run: RunFolder, gate: Gate) -> float | None:
    line = run.first_line(gate.logged, gate.iteration)
    return None if line is None else gate.value(line)


def _stats(run: RunFolder) -> ClassStats | None:
    """Class counts of the training set: those that the run has saved, or counted again."""
    saved = run.folder / "class_stats.json"
    stats = ClassStats.read_saved(saved) if saved.is_file() else None
    return stats or training_stats_or_none(run.cfg.DATASETS.TRAIN, class_stats=run.cfg.MODEL.LONG_TAIL.CLASS_STATS)
