"""What each candidate gains and loses by class against the retrained baseline."""

from __future__ import annotations

from dataclasses import dataclass

from lt_det.evaluation.bakeoff_schema import Bakeoff, Entry
from lt_det.evaluation.schema import Numbers
from lt_det.reporting.bakeoff.selection import highlighted, ordered
from lt_det.reporting.charts.base import Panel
from lt_det.reporting.charts.class_scatter import class_scatter
from lt_det.reporting.class_extremes import EXTREMES_COLUMNS, class_extremes
from lt_det.reporting.tables import TextTable
from lt_det.reporting.view_model import ClassTable, class_table
from lt_det.terminal import count_of


@dataclass(frozen=True)
class ClassGains:
    """The classes of one candidate; only highlighted candidates have a chart.

    Attributes:
        key: unique on the page.
        summary: how many classes gained and lost.
    """

    key: str
    name: str
    summary: str
    gained: TextTable
    lost: TextTable
    scatter: Panel | None


def class_gains(bakeoff: Bakeoff) -> list[ClassGains]:
    """The highlighted candidates, then the others, the best first; empty without an evaluated baseline."""
    baseline = bakeoff.baseline
    if baseline is None or not baseline.finished:
        return []
    before = mean_class_ap(baseline)
    first = highlighted(bakeoff)
    names = [entry.name for entry in first]
    others = [entry for entry in ordered(bakeoff.candidates) if entry is not baseline and entry.name not in names]
    return [
        _gains(bakeoff, entry, before, f"gains_{index}", index < len(first))
        for index, entry in enumerate([*first, *others])
    ]


def gains_table(bakeoff: Bakeoff) -> ClassTable | None:
    """The AP of every class for the baseline and the highlighted candidates; None without an evaluated baseline."""
    baseline = bakeoff.baseline
    if baseline is None or not baseline.finished:
        return None
    before = mean_class_ap(baseline)
    columns: dict[str, list[object]] = {
        "class": [entry.name for entry in bakeoff.classes],
        "bucket": [entry.bucket for entry in bakeoff.classes],
        "training images": [entry.images for entry in bakeoff.classes],
        f"AP {baseline.name}": [*before],
    }
    gains = []
    for entry in highlighted(bakeoff):
        after = mean_class_ap(entry)
        gains.append(f"gain of {entry.name}")
        columns |= {f"AP {entry.name}": [*after], gains[-1]: [*_differences(before, after)]}
    return class_table(bakeoff, columns, tuple(gains))


def mean_class_ap(entry: Entry) -> Numbers:
    """(K,) AP of each class, as the mean over the seeds; None where a seed has none."""
    columns = zip(*(seed.class_ap for seed in entry.seeds), strict=True)
    return [
        sum(known) / len(known) if len(known := [ap for ap in values if ap is not None]) == len(values) else None
        for values in columns
    ]


def _gains(bakeoff: Bakeoff, entry: Entry, before: Numbers, key: str, with_chart: bool) -> ClassGains:
    differences = _differences(before, mean_class_ap(entry))
    known = [value for value in differences if value is not None]
    gained, lost = class_extremes(bakeoff.classes, before, differences)
    up, down = sum(value > 0 for value in known), sum(value < 0 for value in known)
    return ClassGains(
        key,
        entry.name,
        f"{up} of {count_of(len(known), 'class')} gain, {down} lose",
        TextTable("Largest gains", EXTREMES_COLUMNS, gained),
        TextTable("Largest losses", EXTREMES_COLUMNS, lost),
        class_scatter(bakeoff, differences, "difference of AP", symmetric=True) if with_chart else None,
    )


def _differences(before: Numbers, after: Numbers) -> Numbers:
    return [None if a is None or b is None else b - a for a, b in zip(before, after, strict=True)]
