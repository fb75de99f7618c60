"""Influence of each RoI on the last layer against its margin, and by bucket (IB)."""

from __future__ import annotations

from typing import Any

from matplotlib.lines import Line2D

from lt_det.evaluation.diagnosis_schema import Diagnosis, InfluenceGroup, Stage
from lt_det.evaluation.schema import ALL
from lt_det.reporting.bucket_style import LIGHT, NO_BUCKET, Style, bucket_styles
from lt_det.reporting.charts.base import SMALL_TEXT, Chart, Panel, new_axes, set_log_ticks, shorten
from lt_det.reporting.diagnosis.class_axes import HALF, styles_of
from lt_det.reporting.diagnosis.finding import UNKNOWN, Finding
from lt_det.reporting.diagnosis.groups import number, percentage
from lt_det.terminal import count_of

_ROW = 44


def influence(diagnosis: Diagnosis, stage: Stage) -> Finding | None:
    """None if there is no foreground RoI."""
    if stage.influence.groups[ALL] is None:
        return None
    chart = Chart(
        "Influence on the last layer",
        (_against_margin(diagnosis, stage), _by_bucket(diagnosis, stage)),
        "The influence of a RoI is || dL/dz ||_1 || h ||_1, with the detector's own loss. Its margin is the logarithm "
        "of the score of its class minus the largest one of another class or background; left of 0 it is classified "
        "wrongly. Points are a random sample of the foreground RoIs, lines the medians of all of them. Bars go from "
        "the lower to the upper quartile, with a line at the median.",
        layout="grid",
    )
    return Finding(chart, _sentence(diagnosis, stage))


def _groups(diagnosis: Diagnosis, stage: Stage) -> list[tuple[str, Style, InfluenceGroup]]:
    styles = bucket_styles(diagnosis.buckets.names)
    found = [(name, styles[name], stage.influence.groups[name]) for name in diagnosis.buckets.names]
    return [(name, style, group) for name, style, group in found if group is not None]


def _against_margin(diagnosis: Diagnosis, stage: Stage) -> Panel:
    found, groups = stage.influence, _groups(diagnosis, stage)
    legend = [
        (
            shorten(name),
            Line2D([], [], color=style.color, linestyle=style.dashes, marker=style.marker, markeredgewidth=0),
        )
        for name, style, _ in groups
    ]
    figure, axes = new_axes(HALF, 250, legend, left=62, right=12)
    for bucket, style in styles_of(diagnosis).items():
        points = [
            (margin, value)
            for k, margin, value in zip(found.classes, found.margins, found.values, strict=True)
            if diagnosis.classes[k].bucket == bucket and value > 0
        ]
        if points:
            xs, ys = zip(*points, strict=True)
            axes.scatter(xs, ys, s=7, marker=style.marker, color=style.color, alpha=0.35, linewidth=0)
    middles = [(low + high) / 2 for low, high in zip(found.edges, found.edges[1:], strict=False)]
    for _, style, group in groups:
        line = [(x, y) for x, y in zip(middles, group.by_margin, strict=True) if y is not None and y > 0]
        for color, width, dashes in ((LIGHT["paper"], 5.0, "-"), (style.color, 2.2, style.dashes)):
            axes.add_line(
                Line2D([x for x, _ in line], [y for _, y in line], color=color, linewidth=width, linestyle=dashes)
            )
    axes.axvline(0, color=LIGHT["soft"], linewidth=1, linestyle=(0, (3, 3)))
    axes.set_yscale("log")
    positive = sorted(value for value in found.values if value > 0)
    if positive:  # the smallest ones, far right of the boundary, would take most of the axis
        set_log_ticks(axes.yaxis, positive[len(positive) // 20] / 2, positive[-1] * 2)
    axes.set_xlim(found.edges[0], found.edges[-1])
    axes.set(xlabel="margin", ylabel="influence")
    return Panel("influence_margin", "Influence of foreground RoIs against their margin", figure)


def _by_bucket(diagnosis: Diagnosis, stage: Stage) -> Panel:
    groups = _groups(diagnosis, stage)
    if not groups and (everything := stage.influence.groups[ALL]) is not None:
        groups = [("all classes", NO_BUCKET, everything)]
    figure, axes = new_axes(HALF, _ROW * len(groups), left=100, right=20)
    shown = []
    for row, (name, style, group) in enumerate(groups):
        low, middle, high = (max(value, 1e-9) for value in group.quartiles)
        shown += [low, high]
        axes.barh(row + 0.14, high - low, 0.34, left=low, color=style.color, hatch=style.hatch, linewidth=0)
        for color, width in ((LIGHT["paper"], 5), (LIGHT["ink"], 2)):
            axes.plot([middle] * 2, [row - 0.04, row + 0.32], color=color, linewidth=width)
        words = f"{percentage(group.fraction)} of all influence, {count_of(group.rois, 'RoI')}"
        place: dict[str, Any] = {
            "xycoords": ("axes fraction", "data"),
            "textcoords": "offset points",
            "annotation_clip": False,
        }
        axes.annotate(words, (0, row - 0.1), (2, 0), va="bottom", fontsize=SMALL_TEXT, **place)
        axes.annotate(shorten(name, 13), (0, row + 0.14), (-8, 0), ha="right", va="center", **place)
    axes.set_xscale("log")
    set_log_ticks(axes.xaxis, min(shown) / 1.3, max(shown) * 1.3)
    axes.set_ylim(len(groups) - 0.5, -0.5)
    axes.set_yticks([])
    axes.set_xlabel("influence of a foreground RoI")
    axes.spines[["left", "bottom"]].set_visible(False)
    return Panel("influence_buckets", "Influence of foreground RoIs by bucket", figure)


def _sentence(diagnosis: Diagnosis, stage: Stage) -> str:
    found, groups = stage.influence, _groups(diagnosis, stage)
    top = f"A tenth of the foreground RoIs has {percentage(found.top_fraction or 0)} of the influence of foreground"
    if len(groups) < 2 or not groups[-1][2].quartiles[1]:
        return f"{top}. {UNKNOWN}" if len(groups) < 2 else f"{top}."
    (tail, _, of_tail), (head, _, of_head) = groups[0], groups[-1]
    factor = of_tail.quartiles[1] / of_head.quartiles[1]
    if factor >= 1:
        return (
            f"{top}; the median {tail} RoI has {number(factor)} times the influence of the median {head} one, so IB's "
            "factor alone would lower the weight of rare classes, and its class weight 1/n has to make up for it."
        )
    return (
        f"{top}; the median {tail} RoI has {number(factor)} times the influence of the median {head} one, so IB would "
        "raise the weight of rare classes by its factor, too."
    )
