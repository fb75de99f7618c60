"""The report of a training run: what `lt-det report` prints and writes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rich.console import Console

from lt_det.errors import LtDetError
from lt_det.evaluation.protocols import Task
from lt_det.evaluation.schema import Evaluation, read_evaluations
from lt_det.io.atomic import whole_file, write_whole
from lt_det.reporting.html import render_page
from lt_det.reporting.plots import plot_class_ap
from lt_det.reporting.summary import bucket_table, error_table, extremes_table, per_class_csv
from lt_det.reporting.svg import standalone
from lt_det.reporting.tables import TextTable
from lt_det.reporting.view_model import Section, evaluation_section


def write_report(output_dir: str | os.PathLike[str], console: Console | None = None) -> Path:
    """Read the evaluations in a training's output folder, print their tables and write the folder ``report``.

    In it: ``report.html`` (one file, opens anywhere), ``report.md``, ``report.json`` (the numbers of all evaluations
    without their resamples), ``per_class.csv``, and the figures.

    Args:
        output_dir: OUTPUT_DIR of a training or evaluation; ``inference/<data set>/evaluation.json`` are read.
        console: where tables are printed; None: standard output.

    Returns:
        Path of ``report.md``.

    Raises:
        LtDetError: nothing has been evaluated there, an evaluation cannot be read, or the report cannot be written.
    """
    root, console = Path(output_dir), console or Console()
    evaluations = read_evaluations(root)
    report = root / "report"
    try:
        report.mkdir(exist_ok=True)
        return _write(evaluations, root, report, console)
    except OSError as error:
        raise LtDetError(
            f"The report cannot be written to {report} ({error.strerror or error}); make room for it."
        ) from error


def _write(evaluations: dict[str, Evaluation], root: Path, report: Path, console: Console) -> Path:
    sections, parts = [], ["# Report"]
    for folder, evaluation in evaluations.items():
        parts.append(f"## {evaluation.dataset}")
        for task in evaluation.tasks:
            section = evaluation_section(evaluation, task, f"{folder}_{task}", root / "inference" / folder)
            sections.append(section)
            for table in _tables(evaluation, task):
                console.print(table.to_rich())
                parts.append(table.to_markdown())
            if section.scatter:
                scatter = f"{folder}_{task}.png"
                with whole_file(report / scatter) as picture:
                    plot_class_ap(evaluation, task, picture)
                parts.append(f"![AP of each class against its training images]({quote(scatter)})")
            for name, title, drawing in _figures(section):
                write_whole(report / name, standalone(drawing))
                parts.append(f"![{title}]({quote(name)})")
    numbers = [_without_resamples(evaluation) for evaluation in evaluations.values()]
    write_whole(report / "report.json", json.dumps(numbers, indent=1) + "\n")
    write_whole(report / "per_class.csv", per_class_csv(evaluations.values()))
    write_whole(report / "report.html", render_page("report.html", name=root.resolve().name, sections=sections))
    path = report / "report.md"
    write_whole(path, "\n\n".join(parts) + "\n")
    return path


def _tables(evaluation: Evaluation, task: Task) -> list[TextTable]:
    tables = [bucket_table(evaluation, task), extremes_table(evaluation, task), error_table(evaluation, task)]
    return [table for table in tables if table is not None]


def _figures(section: Section) -> Iterator[tuple[str, str, str]]:
    """File name, title and drawing of each chart but the scatter, which is written as png."""
    yield f"{section.key}_buckets.svg", "AP of each bucket", section.buckets
    for threshold, drawing in zip(("50", "75", "mean"), section.precision_recall or (), strict=False):
        yield f"{section.key}_precision_recall_{threshold}.svg", "Precision against recall", drawing
    if section.errors:
        yield f"{section.key}_errors.svg", "AP50 points lost to each kind of error", section.errors
    if section.calibration:
        yield f"{section.key}_calibration.svg", "Precision against score", section.calibration


def _without_resamples(evaluation: Evaluation) -> dict[str, Any]:
    content = evaluation.to_dict()
    for task in content["tasks"].values():
        if task["resamples"]:
            del task["resamples"]["values"]
    return content
