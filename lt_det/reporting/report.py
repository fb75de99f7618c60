"""The report of an output folder: what `lt-det report` prints and writes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rich.console import Console

from lt_det.evaluation.protocols import Task
from lt_det.evaluation.schema import Evaluation, read_evaluations
from lt_det.io.atomic import atomic_file, write_atomically, writing_to
from lt_det.io.console import SafeConsole
from lt_det.reporting.charts.render import write_figure
from lt_det.reporting.escaping import in_markdown, markdown_heading, markdown_paragraph
from lt_det.reporting.html import render_page
from lt_det.reporting.summary import bucket_table, error_table, extremes_table, per_class_csv
from lt_det.reporting.tables import TextTable
from lt_det.reporting.view_model import bucket_advice, evaluation_section


def write_report(
    output_dir: str | os.PathLike[str], console: Console | None = None, outside_images: bool = False
) -> Path:
    """Read the evaluations in a training's output folder, print their tables and write the folder ``report``.

    In it: ``report.html`` (a single file), ``report.md``, ``report.json`` (the numbers of all evaluations
    without their resamples), ``per_class.csv``, and the figures.

    Args:
        output_dir: OUTPUT_DIR of a training or evaluation; ``inference/<dataset>/evaluation.json`` are read.
        console: where tables are printed; None: standard output.
        outside_images: also embed example images that are not in the set's image folder.

    Returns:
        Path of ``report.md``.

    Raises:
        LtDetError: nothing has been evaluated there, an evaluation cannot be read, or the report cannot be written.
    """
    root, console = Path(output_dir), console or SafeConsole()
    evaluations = read_evaluations(root)
    report = root / "report"
    with writing_to(report, "The report", elsewhere=""):
        return _write(evaluations, root, report, console, outside_images)


def _write(
    evaluations: dict[str, Evaluation], root: Path, report: Path, console: Console, outside_images: bool
) -> Path:
    sections, parts = [], ["# Report"]
    for folder, evaluation in evaluations.items():
        parts.append(markdown_heading(2, evaluation.dataset))
        advice = bucket_advice(evaluation)
        if advice:
            parts.append(markdown_paragraph(advice))
        for task in evaluation.tasks:
            inside = root / "inference" / folder
            key = f"{folder.replace('/', '_')}_{task}"
            section = evaluation_section(evaluation, task, key, inside, outside_images)
            sections.append(section)
            for table in _tables(evaluation, task):
                console.print(table.to_rich())
                parts.append(table.to_markdown())
            for chart in section.charts:
                for panel in chart.panels:
                    name = section.key + (panel.file_end or f"_{panel.name}.svg")
                    with atomic_file(report / name) as file:
                        write_figure(panel, file)
                    parts.append(f"![{in_markdown(panel.alt)}]({quote(name, errors='surrogateescape')})")
        if advice:
            console.print(advice, soft_wrap=True, markup=False, highlight=False)
    numbers = [_without_resamples(evaluation) for evaluation in evaluations.values()]
    write_atomically(report / "report.json", json.dumps(numbers, indent=1) + "\n")
    write_atomically(report / "per_class.csv", per_class_csv(evaluations.values()))
    write_atomically(report / "report.html", render_page("report.html", name=root.resolve().name, sections=sections))
    path = report / "report.md"
    write_atomically(path, "\n\n".join(parts) + "\n")
    return path


def _tables(evaluation: Evaluation, task: Task) -> list[TextTable]:
    tables = [bucket_table(evaluation, task), extremes_table(evaluation, task), error_table(evaluation, task)]
    return [table for table in tables if table is not None]


def _without_resamples(evaluation: Evaluation) -> dict[str, Any]:
    content = evaluation.to_dict()
    for task in content["tasks"].values():
        if task["resamples"]:
            del task["resamples"]["values"]
    return content
