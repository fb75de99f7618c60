"""What depends on the counts alone, and the norms of the weights: tau-normalization and class-balanced weights."""

from __future__ import annotations

import numpy as np
from matplotlib.lines import Line2D

from lt_det.evaluation.diagnosis_schema import Diagnosis, Stage
from lt_det.reporting.bucket_style import LIGHT
from lt_det.reporting.charts.base import Chart, Panel, new_axes
from lt_det.reporting.diagnosis.class_axes import (
    HALF,
    ClassAxes,
    bucket_legend,
    point_size,
    set_count_axis,
    set_log_ticks,
    styles_of,
)
from lt_det.reporting.diagnosis.finding import EACH_POINT, UNKNOWN, Finding
from lt_det.reporting.diagnosis.groups import listed, medians, number
from lt_det.terminal import decimals

_DASHES = ((0, (1, 1.5)), (0, (3.5, 1.5)), (0, (5, 1.5, 1, 1.5)), "-")  # of the four betas
_NO_TREND = 0.3  # correlation below which no trend is spoken of


def weight_norms(diagnosis: Diagnosis, stage: Stage) -> Finding:
    found = stage.weight_norms
    axes = ClassAxes(diagnosis, "|| w_c ||", by_count=True)
    axes.add(list(found.norms), explain=lambda k: f"|| w_c || = {number(found.norms[k])}")
    axes.axes.set_ylim(bottom=0)
    chart = Chart(
        "Norms of the class weights",
        (axes.panel("weight_norms", "Norm of the weights of each class against its training count"),),
        "A class with longer weights scores higher on the same features, so that tau-normalization divides them by "
        f"their norm to the power of tau. {EACH_POINT}",
    )
    return Finding(chart, _sentence_on_norms(diagnosis, stage))


def _sentence_on_norms(diagnosis: Diagnosis, stage: Stage) -> str:
    found, compared = stage.weight_norms, medians(diagnosis, list(stage.weight_norms.norms))
    if compared is None or found.correlation is None:
        return UNKNOWN
    tail, of_tail, head, of_head = compared
    sentence = (
        f"The norm is {number(of_tail)} for {tail.name} and {number(of_head)} for {head.name} (medians; correlation "
        f"with log n {decimals(found.correlation, 2)})"
    )
    if not found.has_effect:
        return f"{sentence}, but the cosine classifier normalizes the weights, so it has no effect on the scores."
    if found.correlation > _NO_TREND:
        return f"{sentence}: it grows with n, and tau-normalization would raise the scores of rare classes."
    if found.correlation < -_NO_TREND:
        return f"{sentence}: it shrinks with n, so tau-normalization would lower the scores of rare classes."
    return f"{sentence}: it hardly depends on n, so tau-normalization has little to correct."


def effective_number(diagnosis: Diagnosis) -> Finding:
    panels = (
        _curves(diagnosis, "effective_number", "effective number E_n", "numbers"),
        _curves(diagnosis, "class_weights", "weight", "weights"),
    )
    chart = Chart(
        "Effective number of samples and class-balanced weights",
        panels,
        "For the counts of this training set; no detector is needed. E_n = (1 - beta^n) / (1 - beta) grows like n "
        "and saturates at 1 / (1 - beta); the weights 1 / E_n are scaled to mean 1 over the classes. Each point is a "
        "class, on the curve of beta = 0.999.",
        layout="grid",
    )
    factors, ends = [], ("", "")
    for entry in diagnosis.effective_numbers:
        compared = medians(diagnosis, list(entry.weights))
        if compared is not None:
            tail, of_tail, head, of_head = compared
            factors.append(f"{number(of_tail / of_head)} (beta {entry.beta:g})")
            ends = (tail.name, head.name)
    if not factors:
        return Finding(chart, UNKNOWN)
    counts = [entry.count for entry in diagnosis.classes]
    return Finding(
        chart,
        f"With counts from {min(counts)} to {max(counts)}, class balancing makes the weight of {ends[0]} "
        f"{listed(factors)} times that of {ends[1]} (medians).",
    )


def _curves(diagnosis: Diagnosis, name: str, title: str, attribute: str) -> Panel:
    counts = np.array([max(entry.count, 1) for entry in diagnosis.classes])
    order = np.argsort(counts, kind="stable")
    legend = bucket_legend(diagnosis)
    legend += [
        (f"beta {entry.beta:g}", Line2D([], [], color=LIGHT["k"], linestyle=dashes))
        for entry, dashes in zip(diagnosis.effective_numbers, _DASHES, strict=True)
    ]
    figure, axes = new_axes(HALF, 250, legend, left=62, right=22)
    size, edge = point_size(diagnosis)
    for entry, dashes in zip(diagnosis.effective_numbers, _DASHES, strict=True):
        values = np.array(getattr(entry, attribute))
        axes.plot(counts[order], values[order], color=LIGHT["k"], linestyle=dashes, linewidth=1.8)
        if entry.beta == 0.999:
            for bucket, style in styles_of(diagnosis).items():
                own = [k for k, one in enumerate(diagnosis.classes) if one.bucket == bucket]
                axes.scatter(
                    counts[own], values[own], s=size, marker=style.marker, color=style.color, zorder=3,
                    edgecolor=LIGHT["paper"], linewidth=edge,
                )  # fmt: skip
    set_count_axis(axes, counts)
    axes.set_yscale("log")
    shown = [value for entry in diagnosis.effective_numbers for value in getattr(entry, attribute)]
    set_log_ticks(axes.yaxis, min(shown) / 1.3, max(shown) * 1.3)
    kind = "instances" if diagnosis.classes[0].instances is not None else "images"
    axes.set(xlabel=f"training {kind} n", ylabel=title)
    return Panel(name, f"{title} against n", figure)
