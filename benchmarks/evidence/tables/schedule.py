"""How long is long enough: AP by the length of the training."""

from __future__ import annotations

from benchmarks.evidence.summary import Cell, cell, difference
from benchmarks.evidence.tables.cells import NOT_RUN, interval_text, number, plan_named
from benchmarks.evidence.tables.figure import IMAGE
from benchmarks.evidence.tables.markdown import header, line
from lt_det.terminal import signed

LENGTHS = (800, 1600, 3200, 6400)  # iterations: the shipped configs' 800, times 1, 2, 4 and 8
_ROWS = ("softmax", "seesaw", "ldam")
_METRICS = ("AP", "APr")


def schedule_cells() -> dict[str, dict[int, Cell]]:
    """The results by row and length, with the config's learning rate."""
    plan = plan_named("table2")
    return {row: {length: cell(plan, row, length, factor=1) for length in LENGTHS} for row in _ROWS}


def has_schedule(cells: dict[str, dict[int, Cell]]) -> bool:
    """Whether a row has results of two lengths, so that there is something to draw."""
    return any(sum(bool(one.metrics) for one in of_row.values()) > 1 for of_row in cells.values())


def lengths() -> str:
    """AP and APr by schedule length, and the figure."""
    cells = schedule_cells()
    lines = _header()
    for row, of_row in cells.items():
        lines.append(line(row, [number(one, name, count=True) for name in _METRICS for one in of_row.values()]))
    if has_schedule(cells):
        lines += ["", f"![AP and APr by schedule length](images/{IMAGE.name})"]
    return "\n".join(lines)


def differences_by_length() -> str:
    """Each loss minus softmax with as many iterations, and the interval over images."""
    cells = schedule_cells()
    baseline = cells.pop(_ROWS[0])
    lines = _header()
    for row, of_row in cells.items():
        found = [difference(one, baseline[length], name) for name in _METRICS for length, one in of_row.items()]
        texts = [NOT_RUN if one is None else f"{signed(one.value)} {interval_text(one.over_images)}" for one in found]
        lines.append(line(row, texts))
    return "\n".join(lines)


def _header() -> list[str]:
    return header("loss", [f"{name}, {length}" for name in _METRICS for length in LENGTHS])
