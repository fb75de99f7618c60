"""The result of an evaluation: numbers, tables, and a file."""

from __future__ import annotations

import html
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lt_det.errors import LtDetError, import_problem
from lt_det.evaluation.protocols import Task
from lt_det.evaluation.schema import ALL, TASK_NAMES, Evaluation, group_metric, write_evaluation
from lt_det.statistics.buckets import FrequencyBuckets
from lt_det.terminal import decimals

if TYPE_CHECKING:
    import pandas


class ClassResult(NamedTuple):
    """AP and AR of one class.

    Attributes:
        id: category id; None if it is not known.
        name: class name.
        bucket: bucket name; None if the class is in no bucket.
        training_images: number of training images with the class; None if it is not known.
        objects: number of objects to find in the evaluated set; None if it is not known.
        ap, ar: average precision and recall in percent, averaged over the IoU thresholds, for objects of all sizes; nan
            without ground truth.
    """

    id: int | str | None
    name: str
    bucket: str | None
    training_images: int | None
    objects: int | None
    ap: float
    ar: float


@dataclass(frozen=True, eq=False, repr=False)
class EvaluationResult:
    """The result of `evaluate`; printing it shows a table.

    Attributes:
        evaluation: the content of ``evaluation.json`` with types, see `lt_det.evaluation.schema`.
        buckets: the buckets of the classes.
    """

    evaluation: Evaluation
    buckets: FrequencyBuckets

    @property
    def protocol(self) -> str:
        """Name of the protocol."""
        return self.evaluation.protocol

    @cached_property
    def metrics(self) -> dict[Task, dict[str, float]]:
        """Metrics in percent by task ("bbox", "segm") and name (AP, AP50, APr, ...); nan without ground truth."""
        return {
            task: {name: _float(value) for name, value in result.metrics.items()}
            for task, result in self.evaluation.tasks.items()
        }

    @cached_property
    def intervals(self) -> dict[Task, dict[str, tuple[float, float] | None]]:
        """95 % intervals in percent by task and name; None if a bucket has too few objects; empty without draws."""
        return {
            task: {
                name: None if ends is None else (ends[0], ends[1]) for name, ends in (result.intervals or {}).items()
            }
            for task, result in self.evaluation.tasks.items()
        }

    @cached_property
    def per_class(self) -> dict[Task, list[ClassResult]]:
        """One `ClassResult` per class, in class order, by task."""
        return {
            task: [
                ClassResult(entry.id, entry.name, entry.bucket, entry.images, entry.objects, _float(ap), _float(ar))
                for entry, ap, ar in zip(
                    self.evaluation.classes,
                    result.class_ap,
                    result.class_ar or [None] * len(result.class_ap),
                    strict=True,
                )
            ]
            for task, result in self.evaluation.tasks.items()
        }

    def to_dict(self) -> dict[str, Any]:
        """The content of ``evaluation.json``; None means n/a."""
        return self.evaluation.to_dict()

    def save(self, output_dir: str | os.PathLike[str]) -> Path:
        """Write ``output_dir/inference/<dataset>/evaluation.json``, for `lt-det report` and `lt-det compare`.

        Returns:
            Path of the file.

        Raises:
            LtDetError: the file cannot be written.
        """
        return write_evaluation(self.evaluation, Path(output_dir, "inference", self.evaluation.dataset))

    def to_dataframe(self) -> pandas.DataFrame:
        """One row per task and metric, with value and 95 % interval (columns task, metric, value, low, high).

        Raises:
            LtDetError: pandas is not installed.
        """
        rows = [
            (task, name, value, *(self.intervals[task].get(name) or (math.nan, math.nan)))
            for task, metrics in self.metrics.items()
            for name, value in metrics.items()
        ]
        return _pandas().DataFrame(rows, columns=["task", "metric", "value", "low", "high"])

    def per_class_frame(self) -> pandas.DataFrame:
        """One row per task and class, with the fields of `ClassResult` as columns.

        Raises:
            LtDetError: pandas is not installed.
        """
        rows = [(task, *entry) for task, classes in self.per_class.items() for entry in classes]
        return _pandas().DataFrame(rows, columns=["task", *ClassResult._fields])

    def __repr__(self) -> str:
        return "\n\n".join("\n".join([title, *_aligned(rows)]) for title, rows in self._tables())

    def _repr_html_(self) -> str:
        """The tables as HTML, for notebooks."""
        parts = []
        for title, rows in self._tables():
            head, *body = ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows]
            head = head.replace("td>", "th>")
            lines = "".join(f"<tr>{row}</tr>" for row in body)
            parts.append(f"<table><caption>{html.escape(title)}</caption><tr>{head}</tr>{lines}</table>")
        return "".join(parts)

    def _tables(self) -> Iterator[tuple[str, list[list[str]]]]:
        for task in self.evaluation.tasks:
            title, columns, rows = summary_table(self.evaluation, task)
            yield title, [columns, *rows]


def summary_table(evaluation: Evaluation, task: Task) -> tuple[str, list[str], list[list[str]]]:
    """The table of a task: AP and AR of all classes and of each shown bucket, AP50, AP75, 95 % intervals, and classes.

    Returns:
        Title, column heads and rows.
    """
    result, names = evaluation.tasks[task], evaluation.shown_buckets
    metrics, intervals = result.metrics, result.intervals
    shown = ["AP", "AP50", "AP75", *map(group_metric, names)]
    rows = [["AP", *(percent(metrics[name]) for name in shown)]]
    if intervals:
        ends = [intervals.get(name) for name in shown]
        rows.append(["95 % from", *("" if end is None else percent(end[0]) for end in ends)])
        rows.append(["to", *("" if end is None else percent(end[1]) for end in ends)])
    recalls = [group_metric(group, "AR") for group in (ALL, *names)]
    if any(name in metrics for name in recalls):
        first, *others = (percent(metrics.get(name)) for name in recalls)
        rows.append(["AR", first, "", "", *others])
    evaluated = sum(ap is not None for ap in result.class_ap)
    rows.append(["classes", *map(str, [evaluated] * 3 + [result.bucket_sizes[name] for name in names])])
    columns = ["", ALL, "AP50", "AP75", *names]  # of rows of AP and of AR, so not APr, APc, ...
    return f"{TASK_NAMES[task]}, {evaluation.dataset} ({evaluation.rules})", columns, rows


def percent(value: float | None) -> str:
    """Format a metric with one decimal, or as n/a."""
    return "n/a" if value is None else decimals(value)


def _aligned(rows: list[list[str]]) -> list[str]:
    """Format rows as lines of text: the first column is left-aligned, the others are right-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    padded = [[cell.rjust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
    return ["  ".join([row[0].ljust(widths[0]), *cells[1:]]) for row, cells in zip(rows, padded, strict=True)]


def _float(value: float | None) -> float:
    return math.nan if value is None else value


def _pandas() -> Any:
    try:
        import pandas
    except ImportError as error:
        problem = import_problem(error, "pandas", "pip install pandas")
        raise LtDetError(f"Data frames need {problem}, or use metrics and per_class.") from error
    return pandas
