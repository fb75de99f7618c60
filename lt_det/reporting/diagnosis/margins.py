"""Margins by class against n^(-1/4) (LDAM)."""

from __future__ import annotations

from matplotlib.lines import Line2D

from lt_det.evaluation.diagnosis_schema import Diagnosis, Stage
from lt_det.reporting.bucket_style import LIGHT
from lt_det.reporting.charts.base import Chart
from lt_det.reporting.diagnosis.class_axes import WHOLE, ClassAxes, styles_of
from lt_det.reporting.diagnosis.finding import UNKNOWN, Finding
from lt_det.reporting.diagnosis.groups import medians, number, percentage


def margins(diagnosis: Diagnosis, stage: Stage) -> Finding:
    found = stage.margins
    target = [
        None if found.constant is None else found.constant / max(entry.count, 1) ** 0.25 for entry in diagnosis.classes
    ]
    legend = [
        ("smallest margin of the class", Line2D([], [], linestyle="none", marker="_", color=LIGHT["k"], markersize=9)),
    ]
    if found.constant is not None:
        legend.append(("C / n^(1/4)", Line2D([], [], color=LIGHT["ink"], linestyle=(0, (4, 2)), linewidth=1.6)))
    axes = ClassAxes(diagnosis, "margin", legend=legend, width=WHOLE)
    styles = styles_of(diagnosis)
    for k, entry in enumerate(diagnosis.classes):
        low, high, smallest = found.lower_quartile[k], found.upper_quartile[k], found.minimum[k]
        if low is None or high is None or smallest is None:
            continue
        color, x = styles[entry.bucket].color, axes.x[k]
        axes.axes.plot([x, x], [low, high], color=color, linewidth=3, alpha=0.45)
        axes.axes.plot([x], [smallest], color=color, marker="_", markersize=6, linestyle="none")
    axes.add(found.median, explain=lambda k: _explain(stage, k))
    axes.axes.axhline(0, color=LIGHT["soft"], linewidth=1)
    drawn = sorted((axes.x[k], value) for k, value in enumerate(target) if value is not None)
    for color, width in ((LIGHT["paper"], 4.5), (LIGHT["ink"], 1.6)):
        axes.axes.plot(
            [x for x, _ in drawn], [y for _, y in drawn], color=color, linewidth=width, linestyle=(0, (4, 2))
        )
    constant = (
        "C is that of this detector's LDAM"
        if found.is_ldam
        else "C is chosen such that the targets have the sum of the positive medians: the same margin in total, "
        "distributed as LDAM asks"
    )
    chart = Chart(
        "Margins of training RoIs",
        (axes.panel("margins", "Quartiles and minimum of the margins of training RoIs by class"),),
        "The margin of a RoI is the logarithm of the score of its class minus the largest one of another class or "
        "background (for a softmax, of the logits); below 0 it is classified wrongly. Points are medians, bars go from "
        "the lower to the upper quartile, and the smallest margin is what the LDAM paper calls the margin of a class. "
        f"{constant}. A line is the median of a bucket.",
        layout="wide",
    )
    return Finding(chart, _sentence(diagnosis, stage))


def _explain(stage: Stage, k: int) -> str:
    found = stage.margins
    wrong, smallest = found.negative[k] or 0, found.minimum[k] or 0
    return f"median margin {number(found.median[k] or 0)}, smallest {number(smallest)}, {percentage(wrong)} below 0"


def _sentence(diagnosis: Diagnosis, stage: Stage) -> str:
    found = stage.margins
    compared = medians(diagnosis, found.median)
    if compared is None or found.smallest_class is None:
        return UNKNOWN
    tail, of_tail, head, of_head = compared
    wanted = (tail.median([max(entry.count, 1) ** -0.25 for entry in diagnosis.classes]) or 0) / (
        head.median([max(entry.count, 1) ** -0.25 for entry in diagnosis.classes]) or 1
    )
    wrong = tail.median(found.negative) or 0
    smallest = diagnosis.classes[found.smallest_class].name
    sentence = (
        f"The median margin is {number(of_tail)} for {tail.name}, {percentage(wrong)} of whose training RoIs are "
        f"classified wrongly, and {number(of_head)} for {head.name}; LDAM asks for margins {number(wanted)} times as "
        f"large for {tail.name}, and"
    )
    if of_tail >= wanted * of_head > 0:
        sentence += " this detector has them"
    elif of_tail >= of_head:
        sentence += " they are larger, but not by as much"
    else:
        sentence += " here they are smaller"
    return f"{sentence} (smallest of all: {number(found.minimum[found.smallest_class] or 0)}, class '{smallest}')."
