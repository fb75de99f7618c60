"""Learning curves: the measure on held-out images, and the training loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from lt_det.evaluation.bakeoff_schema import Bakeoff, CurvePoint, Entry
from lt_det.reporting.bakeoff.selection import shown
from lt_det.reporting.bucket_style import LIGHT, Style
from lt_det.reporting.charts.base import PLAIN, Chart, Panel, new_axes, shorten

_WIDTH, _HEIGHT = 440, 250
_STYLES = (
    Style(LIGHT["c0"], "", "", "-"),
    Style(LIGHT["c2"], "", "", (0, (5, 1.5))),
    Style(LIGHT["c3"], "", "", (0, (5, 1.5, 1, 1.5))),
    Style(LIGHT["c4"], "", "", (0, (2, 1))),
    Style(LIGHT["c1"], "", "", (0, (1, 1.2))),
    Style(LIGHT["c5"], "", "", (0, (8, 2))),
)
_BASELINE = Style(LIGHT["ink"], "", "", "-")

Curve = Sequence[CurvePoint]


def learning_curves(bakeoff: Bakeoff) -> Chart | None:
    """None if no curve was recorded."""
    entries = [entry for entry in shown(bakeoff, len(_STYLES) + 2) if _curves(entry)][: len(_STYLES) + 1]
    others = iter(_STYLES)
    styles = {entry.name: _BASELINE if entry.kind == "retrained" else next(others, _STYLES[-1]) for entry in entries}
    drawn = [
        panel
        for name, title, label, value in (
            ("held_out", "Held-out images", "held-out measure", lambda curve: [p.held_out for p in curve]),
            ("loss", "Training", "training loss, relative to its first value", _relative_loss),
        )
        if (panel := _panel(name, title, label, entries, styles, value))
    ]
    if not drawn:
        return None
    return Chart(
        "Learning curves",
        tuple(drawn),
        f"Means over the trainings on the folds. The measure on held-out images is the {bakeoff.held_out_measure}; "
        "higher is better. Training losses of different methods have different units, so each is divided by its first "
        "value: this shows whether a training had converged, not which candidate is better."
        if len(drawn) == 2
        else "Losses of different methods have different units, so each is divided by its first value.",
        layout="grid",
    )


def _panel(
    name: str,
    title: str,
    label: str,
    entries: Sequence[Entry],
    styles: dict[str, Style],
    value: Callable[[Curve], list[float | None]],
) -> Panel | None:
    lines = [(entry, line) for entry in entries if (line := _mean_line(_curves(entry), value)) is not None]
    if not lines:
        return None
    legend = [
        (shorten(entry.name), Line2D([], [], color=style.color, linestyle=style.dashes))
        for entry, _ in lines
        for style in [styles[entry.name]]
    ]
    figure, axes = new_axes(_WIDTH, _HEIGHT, legend, left=56, top=27)
    for entry, (steps, values) in reversed(lines):
        style = styles[entry.name]
        axes.plot(steps, values, color=style.color, linestyle=style.dashes)
    axes.set(xlabel="step", ylabel=label, title=title)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(PLAIN)
    axes.yaxis.set_major_formatter(PLAIN)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    return Panel(f"curves_{name}", f"{title}: {label} against step", figure)


def _curves(entry: Entry) -> list[Curve]:
    """Those on the folds, which have a held-out measure; otherwise those of the seeds."""
    return [fold.curve for fold in entry.folds if fold.curve] or [seed.curve for seed in entry.seeds if seed.curve]


def _mean_line(
    curves: Sequence[Curve], value: Callable[[Curve], list[float | None]]
) -> tuple[list[int], NDArray[np.float64]] | None:
    """Steps and the mean of the curves there, interpolated; the line ends where the shortest training did."""
    known = [
        [(point.step, number) for point, number in zip(curve, value(curve), strict=True) if number is not None]
        for curve in curves
    ]
    known = [points for points in known if len(points) > 1]
    if not known:
        return None
    first, last = max(points[0][0] for points in known), min(points[-1][0] for points in known)
    steps = sorted({step for points in known for step, _ in points if first <= step <= last})
    lines = [np.array(points, dtype=float).T for points in known]
    return steps, np.mean([np.interp(steps, line[0], line[1]) for line in lines], axis=0)


def _relative_loss(curve: Curve) -> list[float | None]:
    first = next((point.loss for point in curve if point.loss), None)
    return [point.loss / first if first and point.loss is not None else None for point in curve]
