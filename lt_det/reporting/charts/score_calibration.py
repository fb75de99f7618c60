"""Precision of the detections in each bin of scores against their mean score, with the expected calibration error."""

from __future__ import annotations

from typing import Any

from matplotlib.lines import Line2D

from lt_det.evaluation.protocols import Task
from lt_det.evaluation.schema import Evaluation
from lt_det.reporting.bucket_style import LIGHT, Style
from lt_det.reporting.charts.base import COLUMN, PLAIN, Chart, Panel, groups, new_axes

_HEIGHT = 290
_FEW = 20  # detections; a point that stands for fewer is hollow
_SIZE = 7.5


def score_calibration(evaluation: Evaluation, task: Task) -> Chart | None:
    calibration = evaluation.tasks[task].calibration
    if not calibration:
        return None
    shown = [
        (entry, label, style)
        for group, label, style in groups(evaluation)
        if (entry := calibration.groups[group]) and entry.ece is not None
    ]
    legend = [(f"{label}: ECE {entry.ece:.3f}", _line(style)) for entry, label, style in shown]
    figure, axes = new_axes(COLUMN, _HEIGHT, legend, right=20)
    axes.plot([0, 1], [0, 1], color=LIGHT["soft"], linestyle=(0, (3, 3)), linewidth=1)
    for entry, _, style in reversed(shown):  # all classes lie on top
        bins = zip(entry.score, entry.precision, entry.count, strict=True)
        known = [(x, y, count) for x, y, count in bins if x is not None and y is not None]
        axes.add_line(_line(style, [x for x, *_ in known], [y for _, y, _ in known], marker="", clip_on=False))
        for few in (False, True):
            points = [(x, y) for x, y, count in known if (count < _FEW) == few]
            xs, ys = [x for x, _ in points], [y for _, y in points]
            axes.add_line(_line(style, xs, ys, hollow=few, linestyle="none", clip_on=False, zorder=3))
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="mean score", ylabel="precision")
    axes.xaxis.set_major_formatter(PLAIN)
    axes.yaxis.set_major_formatter(PLAIN)
    return Chart(
        "Score calibration",
        (Panel("calibration", "Precision against score", figure),),
        f"Detections in ten bins of score: the fraction that is correct (IoU {calibration.iou}) against the mean "
        "score. Below the dashed line the detector is overconfident, above it underconfident. Hollow points stand for "
        f"fewer than {_FEW} detections. ECE, the expected calibration error, is the mean distance from the line, "
        "weighted by the number of detections; 0 is best.",
    )


def _line(style: Style, xs: Any = (), ys: Any = (), hollow: bool = False, **options: Any) -> Line2D:
    looks = {
        "color": style.color,
        "linestyle": style.dashes,
        "marker": style.marker,
        "markersize": _SIZE,
        "markerfacecolor": LIGHT["paper"] if hollow else style.color,
        "markeredgecolor": style.color if hollow else LIGHT["paper"],
        "markeredgewidth": 1.6 if hollow else 0.8,
    }
    return Line2D(list(xs), list(ys), **(looks | options))
