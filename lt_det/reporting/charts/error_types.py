"""AP50 points lost to each type of error, in each bucket."""

from __future__ import annotations

from typing import Any

from matplotlib.patches import Patch

from lt_det.evaluation.protocols import Task
from lt_det.evaluation.result import percent
from lt_det.evaluation.schema import ErrorAnalysis, Evaluation
from lt_det.reporting.bucket_style import LIGHT
from lt_det.reporting.charts.base import COLUMN, PLAIN, SMALL_TEXT, Chart, Panel, groups, new_axes, shorten

_BAR, _GAP = 13, 12  # points


def error_types(evaluation: Evaluation, task: Task) -> Chart | None:
    errors = evaluation.tasks[task].errors
    if not errors:
        return None
    shown = [(loss, label, style) for group, label, style in groups(evaluation) if (loss := errors.loss[group])]
    looks: dict[str, dict[str, Any]] = {
        label: {"facecolor": style.color, "hatch": style.hatch, "edgecolor": LIGHT["paper"], "linewidth": 0}
        for _, label, style in shown
    }
    step = _BAR * len(shown) + _GAP
    legend = [(label, Patch(**look)) for label, look in looks.items()]
    figure, axes = new_axes(COLUMN, step * len(errors.types), legend, left=100, right=46)
    for row, kind in enumerate(errors.types):
        for place, (loss, label, _) in enumerate(shown):
            y, value = step * row + _GAP / 2 + _BAR * (place + 0.5), loss[kind]
            if value is not None:
                axes.barh(y, value, _BAR - 2, **looks[label])
            axes.annotate(
                percent(value), (max(0, value or 0), y), (4, 0),
                textcoords="offset points", va="center_baseline", fontsize=SMALL_TEXT, annotation_clip=False,
            )  # fmt: skip
    values = [loss[kind] for loss, *_ in shown for kind in errors.types]
    known = [value for value in values if value is not None]
    axes.set_xlim(min([0.0, *known]), max([1.0, *known]))
    axes.set_ylim(step * len(errors.types), 0)
    middles = [step * (row + 0.5) for row in range(len(errors.types))]
    axes.set_yticks(middles, [shorten(kind, 14) for kind in errors.types], color=LIGHT["ink"])
    axes.grid(axis="y", visible=False)
    axes.xaxis.set_major_formatter(PLAIN)
    axes.set_xlabel("AP50 points lost")
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.axvline(0, color=LIGHT["soft"], linewidth=1)
    return Chart(
        "Errors",
        (Panel("errors", "AP50 points lost to each type of error", figure),),
        "AP50 points that fixing all errors of one type, and nothing else, would gain. Each type is measured on its "
        "own, so they do not add up.",
        _meanings(errors),
    )


def _meanings(errors: ErrorAnalysis) -> tuple[tuple[str, str], ...]:
    near, far = errors.iou, errors.background_iou
    meanings = {
        "classification": f"right place (IoU of at least {near} with an object of another class), wrong class",
        "localization": f"right class, but the box is too far off (IoU {far} to {near})",
        "both": f"IoU {far} to {near}, and only with an object of another class",
        "duplicate": "right class and place, but a detection with a higher score has matched the object",
        "background": f"IoU of at most {far} with every object",
        "miss": "an object without a match that no classification or localization error explains",
    }
    return tuple((kind, meanings.get(kind, "")) for kind in errors.types)
