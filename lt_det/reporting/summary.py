"""The tables of one evaluation: overall, by bucket, by class and by type of error."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import Any

from lt_det.evaluation.protocols import Task
from lt_det.evaluation.result import percent, summary_table
from lt_det.evaluation.schema import ALL, TASK_NAMES, Evaluation
from lt_det.reporting.escaping import in_spreadsheet
from lt_det.reporting.tables import TextTable

_SHOWN = 8  # best and worst classes


def bucket_table(evaluation: Evaluation, task: Task) -> TextTable:
    """See `summary_table`."""
    return TextTable(*summary_table(evaluation, task))


def extremes_table(evaluation: Evaluation, task: Task) -> TextTable:
    """The classes with the highest and with the lowest AP."""
    scored = [
        (ap, entry)
        for entry, ap in zip(evaluation.classes, evaluation.tasks[task].class_ap, strict=True)
        if ap is not None
    ]
    scored.sort(key=lambda pair: -pair[0])
    rows = [
        [entry.name, percent(ap), "?" if entry.images is None else str(entry.images), entry.bucket or "-"]
        for ap, entry in scored
    ]
    if len(rows) > 2 * _SHOWN:
        rows = [*rows[:_SHOWN], [f"... {len(rows) - 2 * _SHOWN} more", "", "", ""], *rows[-_SHOWN:]]
    title = f"{TASK_NAMES[task]}: best and worst classes"
    return TextTable(title, ["class", "AP", "training images", "bucket"], rows)


def error_table(evaluation: Evaluation, task: Task) -> TextTable | None:
    """AP50 points lost to each type of error, in all classes and in each shown bucket; None if the file has none."""
    errors = evaluation.tasks[task].errors
    if not errors:
        return None
    groups = [ALL, *evaluation.shown_buckets]
    rows = [[kind, *(percent((errors.loss[group] or {}).get(kind)) for group in groups)] for kind in errors.types]
    return TextTable(f"{TASK_NAMES[task]}: AP50 points lost to each type of error", ["", *groups], rows)


def class_columns(evaluation: Evaluation, task: Task) -> dict[str, list[Any]]:
    """The data of each class: K values under each heading. A column without any value is left out."""
    result, classes = evaluation.tasks[task], evaluation.classes
    columns: dict[str, list[Any]] = {
        "class": [entry.name for entry in classes],
        "id": [entry.id for entry in classes],
        "bucket": [entry.bucket for entry in classes],
        "training images": [entry.images for entry in classes],
        "objects": [entry.objects for entry in classes],
        "AP": result.class_ap,
        "AR": result.class_ar or [],
    }
    if errors := result.errors:
        columns |= {f"lost to {kind}": errors.class_loss[kind] for kind in errors.types}
    known = {heading: values for heading, values in columns.items() if any(value is not None for value in values)}
    return {"class": columns["class"], **known}


def per_class_csv(evaluations: Iterable[Evaluation]) -> str:
    """One row for each set, task and class; unrounded; unknown values are empty. Texts: see `in_spreadsheet`."""
    rows: list[dict[str, Any]] = []
    for evaluation in evaluations:
        for task in evaluation.tasks:
            columns = class_columns(evaluation, task)
            for values in zip(*columns.values(), strict=True):
                rows.append({"set": evaluation.dataset, "task": task, **dict(zip(columns, values, strict=True))})
    rows = [
        {in_spreadsheet(heading.replace(" ", "_")): in_spreadsheet(value) for heading, value in row.items()}
        for row in rows
    ]
    stream = io.StringIO()
    writer = csv.DictWriter(
        stream, list(dict.fromkeys(heading for row in rows for heading in row)), lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()
