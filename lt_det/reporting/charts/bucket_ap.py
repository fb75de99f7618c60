"""AP of all classes and of each bucket as bars, with their intervals."""

from __future__ import annotations

from typing import Any

from lt_det.evaluation.protocols import Task
from lt_det.evaluation.schema import ALL, Evaluation, group_metric
from lt_det.reporting.bucket_style import LIGHT
from lt_det.reporting.charts.base import COLUMN, PLAIN, SMALL_TEXT, Chart, Panel, groups, new_axes, shorten
from lt_det.terminal import count_of, decimals

_ROW = 46


def bucket_ap(evaluation: Evaluation, task: Task) -> Chart | None:
    """None where no bucket is shown: the numbers of all classes stand above the charts."""
    if not evaluation.shown_buckets:
        return None
    result = evaluation.tasks[task]
    metrics, intervals = result.metrics, result.intervals or {}
    shown = groups(evaluation)
    figure, axes = new_axes(COLUMN, _ROW * len(shown), left=100, right=20)
    highest = 5.0
    for row, (group, label, style) in enumerate(shown):
        name, place = group_metric(group), ("axes fraction", "data")
        value, interval = metrics[name], intervals.get(name)
        size = sum(ap is not None for ap in result.class_ap) if group == ALL else result.bucket_sizes[group]
        beside: dict[str, Any] = {"xycoords": place, "textcoords": "offset points", "annotation_clip": False}
        axes.annotate(shorten(label, 13), (0, row), (-8, 1), ha="right", va="bottom", **beside)
        axes.annotate(
            count_of(size, "class"), (0, row), (-8, -2), ha="right", va="top", color=LIGHT["soft"],
            fontsize=SMALL_TEXT, **beside,
        )  # fmt: skip
        if value is None:
            axes.annotate("n/a", (0, row), (4, 0), va="center", color=LIGHT["soft"], **beside)
            continue
        axes.barh(row + 0.12, value, 0.42, color=style.color, hatch=style.hatch, edgecolor=LIGHT["paper"], linewidth=0)
        words = decimals(value)
        highest = max(highest, value)
        if interval:
            low, high = interval
            for color, width in ((LIGHT["paper"], 4.5), (LIGHT["ink"], 1.5)):  # a halo lifts it off the bar
                axes.errorbar(
                    value, row + 0.12, xerr=[[value - low], [high - value]],
                    fmt="none", ecolor=color, elinewidth=width, capsize=4, capthick=width,
                )  # fmt: skip
            words += f"  [{decimals(low)}, {decimals(high)}]"
            highest = max(highest, high)
        axes.annotate(words, (0, row - 0.12), (3, 1), va="bottom", **beside)
    axes.set_xlim(0, min(100.0, highest * 1.05))
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_yticks([])
    axes.xaxis.set_major_formatter(PLAIN)
    axes.set_xlabel("AP")
    axes.spines["bottom"].set_visible(False)
    return Chart("Buckets", (Panel("buckets", "AP of each bucket", figure),), _caption(evaluation, bool(intervals)))


def _caption(evaluation: Evaluation, has_intervals: bool) -> str:
    if evaluation.protocol == "pool":
        meaning = (
            "AP of the single precision-recall curve of all detections in a bucket, whatever their class; "
            "it is not a mean over classes."
        )
    else:
        meaning = "AP is the mean over classes, not over buckets: a bucket counts by its classes with ground truth."
    return meaning + (" Whiskers are 95 % intervals." if has_intervals else "")
