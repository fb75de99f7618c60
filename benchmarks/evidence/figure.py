"""The figure of docs/evidence.md: AP by schedule length."""

from __future__ import annotations

from pathlib import Path

import matplotlib

from benchmarks.evidence.plan import Plan
from benchmarks.evidence.summary import Cell, cell

matplotlib.use("Agg")
import matplotlib.pyplot as plt

IMAGE = Path("docs/images/evidence_schedule.png")
LENGTHS = (800, 1600, 3200, 6400)  # iterations: the shipped configs' 800, times 1, 2, 4 and 8
# Okabe and Ito's palette with a marker for each color, for readers without color vision and for print.
_ROWS = {"softmax": ("#0072B2", "o"), "seesaw": ("#D55E00", "s"), "ldam": ("#009E73", "^")}
_METRICS = {"AP": "AP, all classes", "APr": "AP of rare classes"}


def schedule_cells(plan: Plan) -> dict[str, dict[int, Cell]]:
    """The results by row and length, with the config's learning rate."""
    return {row: {length: cell(plan, row, length, factor=1) for length in LENGTHS} for row in _ROWS}


def has_schedule(plan: Plan) -> bool:
    """Whether a row has results of two lengths, so that there is something to draw."""
    of_rows = schedule_cells(plan).values()
    return any(sum(bool(one.metrics) for one in of_row.values()) > 1 for of_row in of_rows)


def draw_schedule(plan: Plan) -> None:
    """Draw AP and APr by schedule length, with the standard deviation over seeds."""
    cells = schedule_cells(plan)
    figure, panels = plt.subplots(1, 2, figsize=(9, 3.6), dpi=150, sharey=True, layout="constrained")
    for axes, (metric, title) in zip(panels, _METRICS.items(), strict=True):
        for row, (color, marker) in _ROWS.items():
            known = {length: one for length, one in cells[row].items() if one.mean(metric) is not None}
            means = [one.mean(metric) for one in known.values()]
            spreads = [one.spread(metric) or 0 for one in known.values()]
            style = {"color": color, "marker": marker, "linewidth": 1.8, "capsize": 3, "label": row}
            axes.errorbar(list(known), means, yerr=spreads, **style)
        axes.set(xscale="log", xlabel="iterations", title=title, xticks=LENGTHS, xticklabels=LENGTHS)
        axes.minorticks_off()
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    panels[0].set_ylabel("box AP")
    panels[0].legend(frameon=False)
    figure.savefig(IMAGE, facecolor="white")
    plt.close(figure)
