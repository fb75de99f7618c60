"""Precision against recall in each bucket: at IoU 0.5, at 0.75, and the mean over the ten thresholds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from matplotlib.lines import Line2D

from lt_det.evaluation.protocols import Task
from lt_det.evaluation.schema import Evaluation, Numbers, PrecisionRecall
from lt_det.reporting.charts.base import PLAIN, Chart, Panel, groups, new_axes

_WIDTH, _HEIGHT = 340, 230
# File name, title and curve.
_THRESHOLDS: tuple[tuple[str, str, Callable[[PrecisionRecall], Numbers]], ...] = (
    ("50", "IoU 0.5", lambda curves: curves.iou_50),
    ("75", "IoU 0.75", lambda curves: curves.iou_75),
    ("mean", "mean over IoU 0.5 to 0.95", lambda curves: curves.mean),
)


def precision_recall(evaluation: Evaluation, task: Task) -> Chart | None:
    curves = evaluation.tasks[task].precision_recall
    if not curves:
        return None
    shown = [(found, label, style) for group, label, style in groups(evaluation) if (found := curves[group])]
    recalls = np.linspace(0, 1, 101)
    panels = []
    for name, title, curve in _THRESHOLDS:
        legend = [(label, Line2D([], [], color=style.color, linestyle=style.dashes)) for _, label, style in shown]
        figure, axes = new_axes(_WIDTH, _HEIGHT, legend, top=27)
        for found, _, style in reversed(shown):  # all classes lie on top
            precisions = np.array(curve(found), dtype=float)
            axes.plot(recalls, precisions, color=style.color, linestyle=style.dashes, clip_on=False)
        axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="recall", ylabel="precision", title=title)
        axes.xaxis.set_major_formatter(PLAIN)
        axes.yaxis.set_major_formatter(PLAIN)
        panels.append(Panel(f"precision_recall_{name}", f"Precision against recall, {title}", figure))
    pooled = evaluation.protocol == "pool"
    return Chart(
        "Precision and recall",
        tuple(panels),
        "Interpolated precision of all detections in a bucket, sorted by score."
        if pooled
        else "Interpolated precision, averaged over the classes of a bucket; AP is the area below the curve.",
        layout="grid",
    )
