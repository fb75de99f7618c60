"""Positive and negative gradients by class (EQL, figure 1) and their ratio (EQLv2)."""

from __future__ import annotations

from lt_det.evaluation.diagnosis_schema import Diagnosis, Stage
from lt_det.reporting.charts.base import Chart
from lt_det.reporting.diagnosis.class_axes import ClassAxes
from lt_det.reporting.diagnosis.finding import EACH_POINT, UNKNOWN, Finding
from lt_det.reporting.diagnosis.groups import medians, number, ratios

_SERIES = ("positive", "negative")
_MUCH = 1.5  # factor between tail and head from which on the sentence speaks of an imbalance


def gradient_norms(diagnosis: Diagnosis, stage: Stage) -> Finding:
    found = stage.gradients
    panels = []
    for name, title, positive, negative in (
        ("gradient_mean", "mean norm of one RoI's gradient", found.positive_mean, found.negative_mean),
        ("gradient_norm", "norm of an iteration's gradient", found.positive_norm, found.negative_norm),
    ):
        axes = ClassAxes(diagnosis, title, _SERIES, log=True)
        axes.add(positive)
        axes.add(negative, hollow=True)
        panels.append(axes.panel(name, f"{title[0].upper()}{title[1:]} by class"))
    chart = Chart(
        "Gradients of the weights of each class",
        tuple(panels),
        "Positive: from RoIs of the class; negative: from all others. The figure of the equalization losses is an "
        f"average L2 norm of the gradient of w_c. {EACH_POINT}",
        (
            ("left, averaged over RoIs", "mean of || dL_i / dw_c || over the positive and over the negative RoIs"),
            (
                "right, averaged over iterations",
                f"norm of the summed gradient of {found.images_per_iteration} images, over {found.iterations} "
                "iterations; many small negative gradients add up",
            ),
        ),
        layout="grid",
    )
    return Finding(chart, _sentence_on_norms(diagnosis, stage))


def _sentence_on_norms(diagnosis: Diagnosis, stage: Stage) -> str:
    found = medians(diagnosis, ratios(stage.gradients.negative_norm, stage.gradients.positive_norm))
    if found is None:
        return UNKNOWN
    tail, of_tail, head, of_head = found
    sentence = (
        f"In an average iteration the negative gradient is {number(of_tail)} times the positive one for {tail.name} and "
        f"{number(of_head)} times for {head.name} (medians)"
    )
    if of_tail > _MUCH * of_head:
        return f"{sentence}: rare classes are suppressed, which EQL, EQLv2 and Seesaw reduce."
    if of_head > _MUCH * of_tail:
        return f"{sentence}: rare classes are not suppressed more, so EQL and its kin have nothing to correct here."
    return f"{sentence}: about the same, so EQL and its kin have little to correct here."


def gradient_ratio(diagnosis: Diagnosis, stage: Stage) -> Finding:
    ratio = stage.gradients.ratio
    axes = ClassAxes(diagnosis, "g", log=True)
    axes.add(ratio, explain=lambda k: f"g = {number(ratio[k] or 0)}")
    axes.axes.axhline(1, color="#5b6168", linewidth=1, linestyle=(0, (3, 3)))
    chart = Chart(
        "EQLv2's gradient ratio",
        (axes.panel("gradient_ratio", "Gradient ratio by class"),),
        "g = sum of |dL/dz_c| over the RoIs of the class, divided by that over all others, with the weights at the end of "
        "the training. Where the bias of a class has converged, g is 1; below 1 the class is still pushed down, above 1 "
        f"still pulled up. {EACH_POINT}",
    )
    found = medians(diagnosis, ratio)
    if found is None:
        return Finding(chart, UNKNOWN)
    tail, of_tail, head, of_head = found
    known = [value for value in ratio if value is not None]
    below = sum(value < 0.8 for value in known)
    sentence = (
        f"g is {number(of_tail)} for {tail.name} and {number(of_head)} for {head.name} (medians); {below} of "
        f"{len(known)} classes lie below 0.8, where EQLv2 begins to shift weight from negative to positive gradients."
    )
    return Finding(chart, sentence)
