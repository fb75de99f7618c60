"""The figure of docs/evidence.md: AP by schedule length."""

from __future__ import annotations

from pathlib import Path

import matplotlib

from benchmarks.evidence.summary import Cell

matplotlib.use("Agg")
import matplotlib.pyplot as plt

IMAGE = Path("docs/images/evidence_schedule.png")
# Okabe and Ito's palette with a marker for each color, for readers without color vision and for print.
_STYLES = {"softmax": ("#0072B2", "o"), "seesaw": ("#D55E00", "s"), "ldam": ("#009E73", "^")}
_METRICS = {"AP": "AP, all classes", "APr": "AP of rare classes"}


def draw_schedule(cells: dict[str, dict[int, Cell]]) -> None:
    """Draw AP and APr by row and schedule length, with the standard deviation over seeds."""
    lengths = list(cells["softmax"])
    figure, panels = plt.subplots(1, 2, figsize=(9, 3.6), dpi=150, sharey=True, layout="constrained")
    for axes, (metric, title) in zip(panels, _METRICS.items(), strict=True):
        for row, (color, marker) in _STYLES.items():
            known = {length: one for length, one in cells[row].items() if one.mean(metric) is not None}
            means = [one.mean(metric) for one in known.values()]
            spreads = [one.spread(metric) or 0 for one in known.values()]
            style = {"color": color, "marker": marker, "linewidth": 1.8, "capsize": 3, "label": row}
            axes.errorbar(list(known), means, yerr=spreads, **style)
        axes.set(xscale="log", xlabel="iterations", title=title, xticks=lengths, xticklabels=lengths)
        axes.minorticks_off()
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    panels[0].set_ylabel("box AP")
    panels[0].legend(frameon=False)
    figure.savefig(IMAGE, facecolor="white")
    plt.close(figure)
