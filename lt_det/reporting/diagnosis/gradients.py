"""Positive and negative gradients by class (EQL, figure 1) and their ratio (EQLv2)."""

from __future__ import annotations

from lt_det.evaluation.diagnosis_schema import Diagnosis, Stage
from lt_det.reporting.bucket_style import LIGHT
from lt_det.reporting.charts.base import Chart
from lt_det.reporting.diagnosis.class_axes import ClassAxes
from lt_det.reporting.diagnosis.finding import EACH_POINT, UNKNOWN, Finding
from lt_det.reporting.diagnosis.groups import medians, number, ratios
from lt_det.terminal import count_of

_SERIES = ("positive", "negative")
_MU = 0.8  # EQLv2's mu
_MUCH = 1.5  # factor between tail and head from which on the sentence speaks of an imbalance


def gradient_norms(diagnosis: Diagnosis, stage: Stage) -> Finding:
    found = stage.gradients
    panels = []
    for name, title, positive, negative in (
        ("gradient_mean", "mean over RoIs of the norm", found.positive_mean, found.negative_mean),
        ("gradient_norm", "mean over iterations of the norm", found.positive_norm, found.negative_norm),
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
            ("averaged over RoIs", "mean of || dL_i / dw_c || over the positive and over the negative RoIs"),
            (
                "averaged over iterations",
                f"norm of the summed gradient of {count_of(found.images_per_iteration, 'image')}, over "
                f"{count_of(found.iterations, 'iteration')}; many small negative gradients add up",
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
        f"In an average iteration the negative gradient is {number(of_tail)} times the positive one for {tail.name}, "
        f"and {number(of_head)} times for {head.name} (medians)"
    )
    if of_tail > _MUCH * of_head:
        return f"{sentence}: rare classes are suppressed, which is what EQL, EQLv2 and Seesaw reduce."
    if of_tail * _MUCH < min(of_head, 1):
        return f"{sentence}: the weights of rare classes are still pulled up, because they are not fitted yet."
    return f"{sentence}: rare classes are not suppressed more, so EQL and its kin have little to correct here."


def gradient_ratio(diagnosis: Diagnosis, stage: Stage) -> Finding:
    ratio = stage.gradients.ratio
    axes = ClassAxes(diagnosis, "g", log=True)
    axes.add(ratio, explain=lambda k: f"g = {number(ratio[k] or 0)}")
    axes.axes.axhline(1, color=LIGHT["soft"], linewidth=1, linestyle=(0, (3, 3)))
    chart = Chart(
        "EQLv2's gradient ratio",
        (axes.panel("gradient_ratio", "Gradient ratio by class"),),
        "g = sum of |dL/dz_c| over the RoIs of the class, divided by that over all others, with the classifier at the "
        "end of the training. Where the bias of a class has converged, g is 1; below 1 the class is still pushed down, "
        f"above 1 still pulled up. {EACH_POINT}",
    )
    found = medians(diagnosis, ratio)
    if found is None:
        return Finding(chart, UNKNOWN)
    tail, of_tail, head, of_head = found
    known = [value for value in ratio if value is not None]
    below = sum(value < _MU for value in known)
    sentence = (
        f"g is {number(of_tail)} for {tail.name} and {number(of_head)} for {head.name} (medians); {below} of "
        f"{count_of(len(known), 'class')} {'is' if below == 1 else 'are'} below {_MU}, where EQLv2 would more than "
        "halve the negative gradient."
    )
    return Finding(chart, sentence)
