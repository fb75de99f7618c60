"""The figures of a measurement: one JSON line each, written as soon as it is known, and the summary at the end."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

OUTPUT = "OUT"  # environment variable: the folder for figures.jsonl, log.txt and summary.md


class CheckFailed(Exception):
    """A figure is not what it must be."""


def output_folder() -> Path:
    return Path(os.environ.get(OUTPUT) or "output/gpu")


def figures_file() -> Path:
    return output_folder() / "figures.jsonl"


def write_figures(stage: str, case: str, **values: Any) -> None:
    """Append one line with the figures of a case. None stands for what cannot be measured on this device."""
    line = json.dumps({"stage": stage, "case": case, **values})
    with figures_file().open("a") as file:
        file.write(line + "\n")
    print(line, flush=True)


def read_figures(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def require(condition: bool, failure: str) -> None:
    """Fail the stage. Call it after `write_figures`, so that the figures of the failure are kept.

    Raises:
        CheckFailed: the condition is false.
    """
    if not condition:
        raise CheckFailed(failure)


def summary(figures: list[dict[str, Any]]) -> str:
    """Markdown: the machine, the outcome of each stage, and a table per stage."""
    parts = []
    for stage in dict.fromkeys(row["stage"] for row in figures):
        rows = [
            {key: value for key, value in row.items() if key != "stage"} for row in figures if row["stage"] == stage
        ]
        columns = list(dict.fromkeys(key for row in rows for key in row))
        lines = [" | ".join(columns), " | ".join("---" for _ in columns)]
        lines += [" | ".join(_text(row.get(column)) for column in columns) for row in rows]
        parts.append(f"## {stage}\n\n" + "\n".join(f"| {line} |" for line in lines) + "\n")
    return "\n".join(parts)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.4g}"
    return str(value)
