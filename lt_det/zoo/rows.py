"""The row of a config in the zoo: what others published, what we measured, and bounds for a run to keep.

Each shipped config has one file, zoo/rows/NAME.json. `docs/zoo.py` makes the pages from them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from lt_det.errors import LtDetError
from lt_det.io.json.files import reading, write_json

Task = Literal["bbox", "segm"]
Percent = Annotated[float, msgspec.Meta(ge=0, le=100)]
Metrics = dict[str, Percent | None]  # by name, such as "APr"; None: nothing to average

SHOWN = ("AP", "APr", "APc", "APf")


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Fields that are left out have their default; others are refused."""


class Baseline(_Strict, frozen=True, kw_only=True):
    """A detector that a result is compared with: the one that it starts from, or softmax of the same source."""

    name: str
    metrics: Metrics


class Published(_Strict, frozen=True, kw_only=True):
    """A number of others.

    Attributes:
        source: key of zoo/sources.json, which has the link and the protocol.
        protocol: "same" as that of the config; "shorter", with fewer epochs and otherwise the same; or "other".
        differs: in what the protocol differs, or what else to know.
    """

    source: str
    task: Task
    metrics: Metrics
    protocol: Literal["same", "shorter", "other"]
    differs: str = ""
    baseline: Baseline | None = None


class Summary(_Strict, frozen=True, kw_only=True):
    """Our own trainings of which only mean and spread are kept.

    Attributes:
        seeds: of the trainings.
        metrics, deviations: means over the seeds, and their standard deviations.
        commit: by which the numbers entered the repository.
    """

    task: Task
    seeds: Annotated[list[int], msgspec.Meta(min_length=1)]
    metrics: Metrics
    deviations: Metrics = {}
    hardware: str
    commit: str
    note: str = ""
    baseline: Baseline | None = None


class Run(_Strict, frozen=True, kw_only=True):
    """A finished training, as `lt-det zoo add` reads it from its folder.

    Attributes:
        seed: None if the config left it to chance.
        overrides: keys whose values differ from the config, apart from those that do not change the result.
        fingerprint: of the evaluated images and their ground truth.
        commit, hardware: None where the log does not say them.
    """

    seed: int | None
    overrides: dict[str, Any] = {}
    iterations: Annotated[int, msgspec.Meta(gt=0)]
    metrics: dict[Task, Metrics]
    dataset: str
    fingerprint: str | None
    commit: str | None
    hardware: str | None
    software: dict[str, str] = {}


class Bound(_Strict, frozen=True, kw_only=True):
    """A heuristic gate: the bounds of a metric once a fraction `at` of the training has passed."""

    metric: str
    at: Annotated[float, msgspec.Meta(ge=0, le=1)]
    low: float | None = None
    high: float | None = None
    why: str


class Row(_Strict, frozen=True, kw_only=True):
    """
    Attributes:
        config: path in the repository.
        twin: for a LazyConfig, the yaml config with the same numbers, whose row has them.
    """

    config: str
    twin: str = ""
    published: list[Published] = []
    summaries: list[Summary] = []
    runs: list[Run] = []
    bounds: list[Bound] = []


def row_file(folder: Path, config: str) -> Path:
    """The file of a config's row: lvis_eql.json, or lazy_lvis_eql.json for a LazyConfig."""
    path = Path(config)
    return folder / f"{'lazy_' if path.parent.name == 'lazy' else ''}{path.stem}.json"


def read_row(file: Path) -> Row:
    """
    Raises:
        LtDetError: the file cannot be read or is not a row; the message names the file and the key.
    """
    with reading(file, "a row of the zoo", "correct it, or take the file of the repository"):
        return msgspec.json.decode(file.read_bytes(), type=Row)


def read_rows(folder: Path) -> dict[str, Row]:
    """The rows in a folder, by config.

    Raises:
        LtDetError: a file is not a row, or does not have the name that belongs to its config.
    """
    rows = {}
    for file in sorted(folder.glob("*.json")):
        row = read_row(file)
        if file != row_file(folder, row.config):
            raise LtDetError(f"{file} is the row of {row.config}; rename it to {row_file(folder, row.config).name}.")
        rows[row.config] = row
    return rows


def write_row(row: Row, folder: Path) -> Path:
    """Write the row's file atomically.

    Raises:
        LtDetError: the folder cannot be written.
    """
    return write_json(msgspec.to_builtins(row), row_file(folder, row.config), "The row", indent=1)
