"""Read the output folder of a training: config, losses and AP by iteration, log."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lt_det.errors import LtDetError
from lt_det.io.plain_values.yaml_files import read_yaml
from lt_det.training import load_config
from lt_det.zoo.run_log import RunLog, read_log

Line = dict[str, float]

_LAZY = re.compile(rb"^lr_multiplier:", re.MULTILINE)  # a key that each LazyConfig has


@dataclass(frozen=True)
class RunFolder:
    """
    Attributes:
        folder: OUTPUT_DIR of the training, wherever it is now.
        cfg: the config that it was trained with.
        lines: of metrics.json, values by name, in the order of their "iteration".
        log: what log.txt says.
    """

    folder: Path
    cfg: Any
    lines: list[Line]
    log: RunLog

    @property
    def iterations(self) -> int:
        """The number of iterations that have been logged."""
        return max((int(line["iteration"]) + 1 for line in self.lines if "total_loss" in line), default=0)

    def first_line(self, metric: str, iteration: int) -> Line | None:
        """The first line at or after an iteration that has a metric; None: not reached."""
        return next((line for line in self.lines if metric in line and line["iteration"] >= iteration), None)


def read_run(folder: str | Path) -> RunFolder:
    """
    Raises:
        LtDetError: the folder is not that of a training of `tools/train_net.py`, or a file of it is corrupt.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise LtDetError(f"{folder} is not a folder; give the OUTPUT_DIR of a training.")
    config = folder / "config.yaml"
    if not config.is_file():
        raise LtDetError(f"{folder} has no config.yaml; give the OUTPUT_DIR of a training.")
    if _LAZY.search(config.read_bytes()):
        raise LtDetError(
            f"{folder} was trained with a LazyConfig, and the zoo has runs of yaml configs only; train the "
            "equivalent yaml config."
        )
    model = read_yaml(config, "config").get("MODEL")
    if not isinstance(model, dict) or "LONG_TAIL" not in model:
        raise LtDetError(
            f"{config} has no MODEL.LONG_TAIL, so it was not trained with lt_det; train with `lt-det train` or "
            "tools/train_net.py."
        )
    return RunFolder(folder, load_config(str(config)), read_metrics(folder), read_log(folder / "log.txt"))


def read_metrics(folder: Path) -> list[Line]:
    """The lines of a training's metrics.json.

    The last line may be incomplete: a killed process leaves one.

    Raises:
        LtDetError: there is no such file, or a line of it is not an object of numbers with an iteration, or goes back
            to an earlier iteration.
    """
    file = folder / "metrics.json"
    if not file.is_file() and (folder / "calibration.json").is_file():
        raise LtDetError(
            f"{folder} holds a post-hoc adjustment, and the zoo has trainings only; give the folder of its detector."
        )
    if not file.is_file():
        raise LtDetError(f"{folder} has no metrics.json; give the OUTPUT_DIR of a training that has begun.")
    texts = file.read_bytes().splitlines(keepends=True)
    lines: list[Line] = []
    for number, text in enumerate(texts, 1):
        if number == len(texts) and not text.endswith(b"\n"):
            break
        line = _line(text)
        if line is None:
            raise LtDetError(
                f"{file}, line {number} is not what a training writes: an object of numbers with their iteration; "
                "restore the file, or train again."
            )
        if lines and line["iteration"] < lines[-1]["iteration"]:
            raise LtDetError(
                f"{file}, line {number} goes back from iteration {lines[-1]['iteration']:.0f} to "
                f"{line['iteration']:.0f}, as if a second training had begun in the folder; train in a new one."
            )
        lines.append(line)
    return lines


def _line(text: bytes) -> Line | None:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(values, dict) or not all(type(value) in (int, float) for value in values.values()):
        return None
    iteration = values.get("iteration", math.nan)
    return values if math.isfinite(iteration) and iteration >= 0 else None
