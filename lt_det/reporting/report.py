"""The report of a training run: what `lt-det report` prints and writes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from rich.console import Console

from lt_det.errors import LtDetError
from lt_det.evaluation.buckets import metric_name
from lt_det.reporting.plots import plot_class_ap
from lt_det.reporting.tables import TextTable, percent

_TASK_NAMES = {"bbox": "Boxes", "segm": "Masks"}
_SHOWN = 8  # best and worst classes


def write_report(output_dir: str | os.PathLike[str], console: Console | None = None) -> Path:
    """Read the evaluations in a training's output folder, print their tables and write ``report/report.md``.

    Args:
        output_dir: OUTPUT_DIR of a training or evaluation; ``inference/<data set>/evaluation.json`` are read.
        console: where tables are printed; None: standard output.

    Returns:
        Path of the report.

    Raises:
        LtDetError: nothing has been evaluated there, or an evaluation cannot be read.
    """
    root, console = Path(output_dir), console or Console()
    files = sorted(root.glob("inference/*/evaluation.json"))
    if not files:
        raise LtDetError(
            f"{root} has no inference/*/evaluation.json; train there first, or run tools/train_net.py with --eval-only."
        )
    report = root / "report"
    try:
        report.mkdir(exist_ok=True)
        return _write(files, report, console)
    except OSError as error:
        raise LtDetError(f"The report cannot be written to {report} ({error.strerror}); make room for it.") from error


def _write(files: list[Path], report: Path, console: Console) -> Path:
    parts = ["# Report"]
    for file in files:
        evaluation = _read(file)
        parts.append(f"## {evaluation['dataset']}")
        for task in evaluation["tasks"]:
            figure = f"{evaluation['dataset']}_{task}.png"
            try:
                tables = (bucket_table(evaluation, task), extremes_table(evaluation, task))
                plot_class_ap(evaluation, task, report / figure)
            except (KeyError, TypeError, ValueError) as error:
                raise LtDetError(f"{file} is not an evaluation written by lt_det ({error}); evaluate again.") from error
            for table in tables:
                console.print(table.to_rich())
                parts.append(table.to_markdown())
            parts.append(f"![AP of each class against its training images]({figure})")
    path = report / "report.md"
    path.write_text("\n\n".join(parts) + "\n")
    return path


def bucket_table(evaluation: dict[str, Any], task: str) -> TextTable:
    """AP, AP50, AP75 and the AP of each bucket, with the number of classes behind each."""
    result = evaluation["tasks"][task]
    metrics, sizes = result["metrics"], result["bucket_sizes"]
    shown = ["AP", "AP50", "AP75", *(metric_name(name) for name in sizes)]
    evaluated = sum(ap is not None for ap in result["class_ap"])
    classes = [evaluated] * 3 + list(sizes.values())
    return TextTable(
        f"{_TASK_NAMES[task]}, {evaluation['dataset']} ({evaluation['protocol']} protocol)",
        ["", *shown],
        [
            ["AP", *(percent(metrics[name]) for name in shown)],
            ["classes", *(str(number) for number in classes)],
        ],
    )


def extremes_table(evaluation: dict[str, Any], task: str) -> TextTable:
    """The classes found best and worst."""
    scored = [
        (ap, entry)
        for entry, ap in zip(evaluation["classes"], evaluation["tasks"][task]["class_ap"], strict=True)
        if ap is not None
    ]
    scored.sort(key=lambda pair: -pair[0])
    rows = [
        [entry["name"], percent(ap), "?" if entry["images"] is None else str(entry["images"]), entry["bucket"] or "-"]
        for ap, entry in scored
    ]
    if len(rows) > 2 * _SHOWN:
        rows = [*rows[:_SHOWN], [f"... {len(rows) - 2 * _SHOWN} more", "", "", ""], *rows[-_SHOWN:]]
    title = f"{_TASK_NAMES[task]}: best and worst classes"
    return TextTable(title, ["class", "AP", "training images", "bucket"], rows)


def _read(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text())
        if not {"dataset", "protocol", "buckets", "classes", "tasks"} <= set(content):
            raise ValueError("fields are missing")
    except (OSError, ValueError, TypeError) as error:
        raise LtDetError(f"{file} is not an evaluation written by lt_det ({error}); evaluate again.") from None
    return content
