"""What a page shows of one task of one evaluation, drawn and worded; templates only lay it out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lt_det.evaluation.protocols import Task
from lt_det.evaluation.schema import TASK_NAMES, ErrorAnalysis, Evaluation, group_metric
from lt_det.reporting.charts import bucket_chart, calibration_chart, error_chart, precision_recall_charts
from lt_det.reporting.examples import Examples, class_examples
from lt_det.reporting.scatter import class_scatter
from lt_det.reporting.summary import class_columns
from lt_det.reporting.tables import percent, signed
from lt_det.statistics.buckets import UNSEEN

_TEXT = ("class", "bucket")
_COUNTS = ("id", "training images", "objects")


@dataclass(frozen=True)
class Cell:
    """`order` sorts where the words do not: a bucket goes by its place."""

    words: str
    order: float | None = None


@dataclass(frozen=True)
class ClassTable:
    """Heads, which of them are text, rows, and the buckets to filter by."""

    heads: list[str]
    text_heads: tuple[str, ...]
    rows: list[list[Cell]]
    buckets: list[str]


@dataclass(frozen=True)
class Headline:
    """A metric; `interval` is empty where there is none."""

    name: str
    value: str
    interval: str


# What the AP of a bucket and its precision-recall curve are.
_OF_CLASSES = (
    "AP is the mean over classes, so it is not the mean of the buckets: each counts by its classes with ground truth.",
    "Means over the classes of a bucket of the interpolated precision, as AP averages it.",
)
_OF_POOL = (
    "AP of the one curve that the detections of all classes of a bucket make; not a mean over classes.",
    "Interpolated precision of the detections of all classes of a bucket, sorted by score.",
)


@dataclass(frozen=True)
class Section:
    """Drawings are markup, and None where the file lacks what they show."""

    key: str  # unique on the page, and the start of file names
    title: str
    facts: list[str]
    meaning_of_ap: str
    meaning_of_curves: str
    headlines: list[Headline]  # AP, AP50, AP75 and the buckets' AP
    others: list[Headline]
    has_intervals: bool
    buckets: str
    scatter: str | None
    precision_recall: list[str] | None
    errors: str | None
    error_kinds: list[tuple[str, str]]  # name, what it is
    calibration: str | None
    calibration_iou: float | None
    examples: Examples
    table: ClassTable


def evaluation_section(evaluation: Evaluation, task: Task, key: str, folder: Path) -> Section:
    """All of one task; `folder` is where the evaluation lies, `key` as in `Section`."""
    result = evaluation.tasks[task]
    intervals = result.intervals or {}
    first = ["AP", "AP50", "AP75", *map(group_metric, evaluation.buckets.names)]
    metrics = {
        name: Headline(name, percent(value), f"{ends[0]:.1f} to {ends[1]:.1f}" if (ends := intervals.get(name)) else "")
        for name, value in result.metrics.items()
    }
    return Section(
        key=key,
        title=f"{evaluation.dataset}: {TASK_NAMES[task].lower()}",
        facts=evaluation_facts(evaluation),
        meaning_of_ap=_OF_POOL[0] if evaluation.protocol == "pool" else _OF_CLASSES[0],
        meaning_of_curves=_OF_POOL[1] if evaluation.protocol == "pool" else _OF_CLASSES[1],
        headlines=[metrics[name] for name in first],
        others=[headline for name, headline in metrics.items() if name not in first],
        has_intervals=any(intervals.values()),
        buckets=bucket_chart(evaluation, task, f"{key}-buckets"),
        scatter=class_scatter(evaluation, result.class_ap, "AP", f"{key}-classes"),
        precision_recall=precision_recall_charts(evaluation, task, f"{key}-pr"),
        errors=error_chart(evaluation, task, f"{key}-errors"),
        error_kinds=_error_kinds(result.errors),
        calibration=calibration_chart(evaluation, task, f"{key}-calibration"),
        calibration_iou=None if result.calibration is None else result.calibration.iou,
        examples=class_examples(evaluation, task, folder),
        table=class_table(evaluation, class_columns(evaluation, task)),
    )


def evaluation_facts(evaluation: Evaluation) -> list[str]:
    """Under which rules the numbers came about."""
    buckets = evaluation.buckets
    facts = [f"{evaluation.protocol} protocol"]
    if evaluation.num_images is not None:
        facts.append(f"{evaluation.num_images} images")
    facts.append(f"{len(evaluation.classes)} classes")
    if not any(entry.bucket for entry in evaluation.classes):
        return [*facts, "no buckets known"]
    unseen = [name for name in buckets.names if name == UNSEEN]
    *lower, last = buckets.names[len(unseen) :]
    if buckets.edges and len(buckets.edges) == len(lower):
        spans = [f"{name} up to {edge:g}" for name, edge in zip(lower, buckets.edges, strict=True)]
        facts.append(f"buckets by training {buckets.by}: {', '.join([*unseen, *spans])}, {last} above")
    else:
        facts.append(f"buckets: {', '.join(buckets.names)}")
    return facts


def class_table(evaluation: Evaluation, columns: dict[str, list[Any]], gains: tuple[str, ...] = ()) -> ClassTable:
    """Rows in the order of the classes; of a metric one decimal, of a gain with its sign."""
    heads = list(columns)
    indices = [evaluation.bucket_index(entry) for entry in evaluation.classes]
    rows = []
    for index, values in zip(indices, zip(*columns.values(), strict=True), strict=True):
        rows.append(
            [
                Cell(value or "-", index) if head == "bucket" else Cell(_words(value, head, head in gains))
                for head, value in zip(heads, values, strict=True)
            ]
        )
    shown = {entry.bucket for entry in evaluation.classes}
    return ClassTable(heads, _TEXT, rows, [name for name in evaluation.buckets.names if name in shown])


def _words(value: str | float | None, head: str, is_gain: bool) -> str:
    if value is None:
        return "n/a"
    if isinstance(value, str) or head in _COUNTS:
        return str(value)
    return signed(value) if is_gain else percent(value)


def _error_kinds(errors: ErrorAnalysis | None) -> list[tuple[str, str]]:
    """What each kind of the error view means."""
    if not errors:
        return []
    near, far = errors.iou, errors.background_iou
    meanings = {
        "classification": f"right place (IoU of {near} or more with an object of another class), wrong class",
        "localization": f"right class, but too far off (IoU {far} to {near})",
        "both": f"IoU {far} to {near}, with an object of another class only",
        "duplicate": "right class and place, but a detection of higher score has the object",
        "background": f"IoU of {far} or less with every object",
        "miss": "an object that is not found, and at which no classification or localization error points",
    }
    return [(kind, meanings.get(kind, "")) for kind in errors.types]
