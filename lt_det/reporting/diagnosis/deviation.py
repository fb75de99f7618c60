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
        "The decision value is w_c · h of the right class, without bias: the mean over its RoIs. The accuracy is the "
        "fraction of the RoIs for which the right class scores highest of all classes, background left aside. Both for "
        "proposals of the RPN that match an object, in training and at test time; ground-truth boxes are left out. "
        f"{EACH_POINT}",
        layout="grid",
    )
    return Finding(chart, _sentence_on_values(diagnosis, found))


def _sentence_on_values(diagnosis: Diagnosis, found: FeatureDeviation) -> str:
    ends = tail_and_head(diagnosis, found.training_value, found.test_value)
    if ends is None:
        return UNKNOWN
    gap = differences(found.training_value, found.test_value)
    parts, gaps, accuracies = [], [], []
    for group in ends:
        training, test = group.median(found.training_accuracy) or 0.0, group.median(found.test_accuracy) or 0.0
        gaps.append(group.median(gap) or 0.0)
        accuracies.append(training)
        change = f"{'drops' if gaps[-1] >= 0 else 'rises'} by {number(abs(gaps[-1]))}"
        parts.append(f"{change} for {group.name} (accuracy {percentage(training)} and {percentage(test)})")
    if accuracies[0] < 0.5:
        meaning = "rare classes are not fitted even in training, so that feature deviation is not what limits them"
    elif gaps[0] > max(1.5 * gaps[1], 0.1):
        meaning = "rare classes are fitted to training objects that test objects do not resemble, which CDT corrects"
    else:
        meaning = "rare classes are not overfitted more than frequent ones, so CDT has little to correct"
    return f"From training to test the decision value {parts[0]} and {parts[1]}, as medians: {meaning}."


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
        "Distance between the mean features of training and of test RoIs, in standard deviations of the features of "
        "the class. The means of few objects are far apart in any case: hollow is what would be measured on average if "
        f"training and test had the same distribution. {EACH_POINT}",
    )
    ends = tail_and_head(diagnosis, found.deviation, found.by_chance)
    if ends is None:
        return Finding(chart, UNKNOWN)
    beyond = beyond_chance(found)
    parts = [
        f"{number(group.median(found.deviation) or 0)} for {group.name}, where "
        f"{number(group.median(found.by_chance) or 0)} is to be expected by chance"
        for group in ends
    ]
    tail, head = (group.median(beyond) or 0.0 for group in ends)
    meaning = (
        "beyond chance, the features of rare classes deviate more"
        if tail > 1.25 * head
        else "beyond chance, the features of rare classes do not deviate more"
    )
    return Finding(
        chart,
        f"Test features deviate by {parts[0]}, and by {parts[1]} (medians): {meaning} ({number(tail)} against "
        f"{number(head)}).",
    )


def beyond_chance(found: FeatureDeviation) -> Numbers:
    """sqrt(max(0, deviation^2 - by_chance^2)) of each class."""
    return [
        None if measured is None or chance is None else max(0.0, measured**2 - chance**2) ** 0.5
        for measured, chance in zip(found.deviation, found.by_chance, strict=True)
    ]


def _percent(values: Numbers) -> Numbers:
    return [None if value is None else 100 * value for value in values]
