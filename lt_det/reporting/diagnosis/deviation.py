"""Training against test RoIs by class (CDT): decision values, accuracy, and the deviation of the features."""

from __future__ import annotations

from lt_det.evaluation.diagnosis_schema import Diagnosis, FeatureDeviation, Stage
from lt_det.evaluation.schema import Numbers
from lt_det.reporting.charts.base import Chart
from lt_det.reporting.diagnosis.class_axes import ClassAxes
from lt_det.reporting.diagnosis.finding import EACH_POINT, UNKNOWN, Finding
from lt_det.reporting.diagnosis.groups import differences, number, percentage, tail_and_head

_SERIES = ("training", "test")


def decision_values(diagnosis: Diagnosis, stage: Stage) -> Finding | None:
    """None without test RoIs."""
    found = stage.deviation
    if found is None:
        return None
    values = ClassAxes(diagnosis, "decision value", _SERIES)
    values.add(found.training_value)
    values.add(found.test_value, hollow=True)
    accuracy = ClassAxes(diagnosis, "accuracy in %", _SERIES)
    accuracy.add(_percent(found.training_accuracy))
    accuracy.add(_percent(found.test_accuracy), hollow=True)
    accuracy.axes.set_ylim(-4, 104)
    chart = Chart(
        "Training against test RoIs",
        (
            values.panel("decision_values", "Decision value of the right class, training and test, by class"),
            accuracy.panel("accuracy", "Accuracy among the classes, training and test, by class"),
        ),
        "Left: mean decision value of the right class, w_c · h without bias. Right: fraction of the RoIs for which the "
        "right class scores highest of all classes, background left aside. Both for proposals of the RPN that match an "
        f"object, at training and at test time; ground-truth boxes are left out. {EACH_POINT}",
        layout="grid",
    )
    return Finding(chart, _sentence_on_values(diagnosis, found))


def _sentence_on_values(diagnosis: Diagnosis, found: FeatureDeviation) -> str:
    ends = tail_and_head(diagnosis, found.training_value, found.test_value)
    if ends is None:
        return UNKNOWN
    parts, gaps = [], []
    gap = differences(found.training_value, found.test_value)
    for group in ends:
        training, test = group.median(found.training_accuracy) or 0.0, group.median(found.test_accuracy) or 0.0
        gaps.append(group.median(gap) or 0.0)
        parts.append(
            f"{number(gaps[-1])} for {group.name} (accuracy {percentage(training)} in training, {percentage(test)} in test)"
        )
    larger = gaps[0] > max(1.5 * gaps[1], 0.1)
    meaning = (
        "the gap that CDT describes: rare classes are fitted on training objects that test objects do not resemble"
        if larger
        else "rare classes are not overfitted more than frequent ones, which is what CDT would correct"
    )
    return f"From training to test the decision value drops by {parts[0]} and by {parts[1]}, as medians: {meaning}."


def deviation_of_features(diagnosis: Diagnosis, stage: Stage) -> Finding | None:
    """None without test RoIs."""
    found = stage.deviation
    if found is None:
        return None
    axes = ClassAxes(diagnosis, "deviation", ("measured", "expected by chance"))
    axes.add(found.deviation)
    axes.add(found.by_chance, hollow=True)
    axes.axes.set_ylim(bottom=0)
    chart = Chart(
        "Feature deviation",
        (axes.panel("deviation", "Deviation between training and test features by class"),),
        "Distance between the mean features of training and of test RoIs, in standard deviations of the features of the "
        "class. The means of few objects are far apart in any case: hollow is what would be measured on average if "
        f"training and test had the same distribution. {EACH_POINT}",
    )
    ends = tail_and_head(diagnosis, found.deviation, found.by_chance)
    if ends is None:
        return Finding(chart, UNKNOWN)
    beyond = beyond_chance(found)
    parts = [
        f"{number(group.median(found.deviation) or 0)} for {group.name}, {number(group.median(found.by_chance) or 0)} "
        "of it by chance"
        for group in ends
    ]
    tail, head = (group.median(beyond) or 0.0 for group in ends)
    meaning = (
        "the features of rare classes deviate more than their few test objects explain"
        if tail > 1.25 * head
        else "beyond chance, the features of rare classes do not deviate more"
    )
    return Finding(
        chart,
        f"Test features deviate by {parts[0]}, and by {parts[1]} (medians): {meaning} "
        f"({number(tail)} against {number(head)} without chance).",
    )


def beyond_chance(found: FeatureDeviation) -> Numbers:
    """sqrt(max(0, deviation^2 - by_chance^2)) of each class."""
    return [
        None if measured is None or chance is None else max(0.0, measured**2 - chance**2) ** 0.5
        for measured, chance in zip(found.deviation, found.by_chance, strict=True)
    ]


def _percent(values: Numbers) -> Numbers:
    return [None if value is None else 100 * value for value in values]
