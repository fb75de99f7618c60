"""What a page shows of one task of one evaluation; templates only lay it out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lt_det.evaluation.bakeoff_schema import Bakeoff
from lt_det.evaluation.protocols import Task
from lt_det.evaluation.result import percent
from lt_det.evaluation.schema import TASK_NAMES, Evaluation, group_metric
from lt_det.reporting.charts import report_charts
from lt_det.reporting.charts.base import Chart
from lt_det.reporting.examples import Examples, class_examples
from lt_det.reporting.summary import class_columns
from lt_det.statistics.bucket_advice import one_bucket_advice
from lt_det.statistics.buckets import UNSEEN, FrequencyBuckets
from lt_det.statistics.class_stats import ClassStats
from lt_det.terminal import count_of, signed, span

_TEXT = ("class", "bucket")
_COUNTS = ("id", "training images", "objects")


@dataclass(frozen=True)
class Cell:
    """`order` is the sort key of a cell that its words would sort wrongly: a bucket, by frequency."""

    words: str
    order: float | None = None


@dataclass(frozen=True)
class ClassTable:
    """Column headings, which of them are text, the rows, and the buckets to filter by."""

    headings: list[str]
    text_headings: tuple[str, ...]
    rows: list[list[Cell]]
    buckets: list[str]


@dataclass(frozen=True)
class Headline:
    """A metric; without an interval, `interval` is empty."""

    name: str
    value: str
    interval: str


@dataclass(frozen=True)
class Section:
    """One task of one evaluation.

    Attributes:
        key: unique on the page, and the start of file names.
        advice: see `bucket_advice`.
        headlines: AP, AP50, AP75 and the shown buckets' AP.
        others: all other metrics.
    """

    key: str
    title: str
    facts: list[str]
    advice: str
    headlines: list[Headline]
    others: list[Headline]
    has_intervals: bool
    charts: list[Chart]
    examples: Examples
    table: ClassTable


def evaluation_section(
    evaluation: Evaluation, task: Task, key: str, folder: Path, outside_images: bool = False
) -> Section:
    """Everything about one task; `folder` holds the ``evaluation.json``, `key` is `Section`'s.

    `outside_images`: see `class_examples`.
    """
    result = evaluation.tasks[task]
    intervals, hidden = result.intervals or {}, evaluation.hidden_metrics
    first = ["AP", "AP50", "AP75", *map(group_metric, evaluation.shown_buckets)]
    metrics = {
        name: Headline(name, percent(value), span(ends) if (ends := intervals.get(name)) else "")
        for name, value in result.metrics.items()
        if name not in hidden
    }
    return Section(
        key=key,
        title=f"{evaluation.dataset}: {TASK_NAMES[task].lower()}",
        facts=evaluation_facts(evaluation),
        advice=bucket_advice(evaluation),
        headlines=[metrics[name] for name in first],
        others=[headline for name, headline in metrics.items() if name not in first],
        has_intervals=any(intervals.values()),
        charts=report_charts(evaluation, task),
        examples=class_examples(evaluation, task, folder, outside_images),
        table=class_table(evaluation, class_columns(evaluation, task)),
    )


def evaluation_facts(evaluation: Evaluation | Bakeoff) -> list[str]:
    """Protocol, size of the set, and how the buckets are defined."""
    buckets = evaluation.buckets
    facts = [evaluation.rules]
    if evaluation.num_images is not None:
        facts.append(count_of(evaluation.num_images, "image"))
    facts.append(count_of(len(evaluation.classes), "class"))
    if not any(entry.bucket for entry in evaluation.classes):
        return [*facts, "no buckets known"]
    filled = {entry.bucket for entry in evaluation.classes}
    unseen = [name for name in buckets.names if name == UNSEEN]
    *lower, last = buckets.names[len(unseen) :]
    if buckets.edges and len(buckets.edges) == len(lower):
        spans = [f"{name} up to {edge:g}" for name, edge in zip(lower, buckets.edges, strict=True)]
        words = dict(zip(buckets.names, [*unseen, *spans, f"{last} above"], strict=True))
        described = [text if name in filled else f"{text} (no class)" for name, text in words.items()]
        facts.append(f"buckets by training {buckets.by}: {', '.join(described)}")
    else:
        facts.append(f"buckets: {', '.join(name for name in buckets.names if name in filled)}")
    return facts


def bucket_advice(evaluation: Evaluation | Bakeoff) -> str:
    """See `one_bucket_advice`; a file has the training images of the classes, but not their instances."""
    names, images = evaluation.buckets.names, [entry.images for entry in evaluation.classes]
    bucket_of = [evaluation.bucket_index(entry) for entry in evaluation.classes]
    assignment = np.array([-1 if bucket is None else bucket for bucket in bucket_of], dtype=np.int64)
    buckets = FrequencyBuckets(tuple(names), assignment, evaluation.buckets.by)
    if None in images:
        return one_bucket_advice(buckets, None)
    class_names = tuple(entry.name for entry in evaluation.classes)
    return one_bucket_advice(buckets, ClassStats(class_names, np.array(images), None, 0, evaluation.dataset))


def class_table(
    evaluation: Evaluation | Bakeoff, columns: dict[str, list[Any]], gains: tuple[str, ...] = ()
) -> ClassTable:
    """Rows in the order of the classes; a metric has one decimal, a gain its sign as well."""
    headings = list(columns)
    indices = [evaluation.bucket_index(entry) for entry in evaluation.classes]
    rows = []
    for index, values in zip(indices, zip(*columns.values(), strict=True), strict=True):
        rows.append(
            [
                Cell(value or "-", index) if heading == "bucket" else Cell(_words(value, heading, heading in gains))
                for heading, value in zip(headings, values, strict=True)
            ]
        )
    shown = {entry.bucket for entry in evaluation.classes}
    return ClassTable(headings, _TEXT, rows, [name for name in evaluation.buckets.names if name in shown])


def _words(value: str | float | None, heading: str, is_gain: bool) -> str:
    if value is None:
        return "n/a"
    if isinstance(value, str) or heading in _COUNTS:
        return str(value)
    return signed(value) if is_gain else percent(value)
