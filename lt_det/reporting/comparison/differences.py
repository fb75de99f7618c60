"""Differences between evaluations of the same set, with paired intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lt_det.evaluation.metrics.intervals import interval
from lt_det.evaluation.schema import Numbers, TaskEvaluation


@dataclass(frozen=True)
class Difference:
    """Difference of one metric, in points: the other run minus the first."""

    metric: str
    first: float | None
    other: float | None
    interval: tuple[float, float] | None

    @property
    def value(self) -> float | None:
        return None if self.first is None or self.other is None else self.other - self.first

    @property
    def excludes_zero(self) -> bool | None:
        """Whether the interval excludes 0; None without an interval."""
        if self.value is None or self.interval is None:
            return None
        low, high = self.interval
        return low > 0 or high < 0

    @property
    def reading(self) -> str:
        """How to read the difference, in words."""
        if self.value is None:
            return "n/a"
        if self.interval is None:
            return "no interval"
        if not self.excludes_zero:
            return "not significant: the interval includes 0"
        return f"{'higher' if self.interval[0] > 0 else 'lower'}: the interval excludes 0"

    @property
    def significance(self) -> str:
        """The same in a word, for tables."""
        if self.value is None or self.interval is None:
            return "n/a"
        return ("higher" if self.interval[0] > 0 else "lower") if self.excludes_zero else "no"


def metric_differences(first: TaskEvaluation, other: TaskEvaluation) -> list[Difference]:
    """Every metric that both have, in the order of the first."""
    paired = unpaired_because(first, other) is None
    return [
        Difference(name, value, other.metrics[name], _interval(first, other, name) if paired else None)
        for name, value in first.metrics.items()
        if name in other.metrics
    ]


def unpaired_because(first: TaskEvaluation, other: TaskEvaluation, pooled: bool = False) -> str | None:
    """Why two runs have no paired intervals, in a sentence; None if they have.

    The n-th resample of both must be the same draw of the same images.

    Args:
        first, other: the runs.
        pooled: both were evaluated by AP-Pool.
    """
    a, b = first.resamples, other.resamples
    if (not a or not b) and pooled:
        return (
            "No intervals of the differences: AP-Pool has no resamples; for intervals, evaluate both with `lt-det "
            "evaluate --protocol fixed --resamples 1000`."
        )
    if not a or not b:
        return (
            "No intervals of the differences: at least one of the evaluations was written without resamples; evaluate "
            "both with `lt-det evaluate --resamples 1000`, or set TEST.RESAMPLES for a training (LazyConfig: "
            "dataloader.evaluator.draws)."
        )
    if a.images != b.images:
        return "No intervals of the differences: the runs were evaluated on different images or ground truth."
    lengths = [{len(values) for values in resamples.values.values()} for resamples in (a, b)]
    if a.seed != b.seed or lengths[0] != lengths[1]:
        return "No intervals of the differences: the runs were resampled with different seeds or numbers of draws."
    return None


def class_differences(first: TaskEvaluation, other: TaskEvaluation) -> Numbers:
    """(K,) differences of the classes' AP, in points."""
    return [None if a is None or b is None else b - a for a, b in zip(first.class_ap, other.class_ap, strict=True)]


def _interval(first: TaskEvaluation, other: TaskEvaluation, name: str) -> tuple[float, float] | None:
    """From the differences of the individual resamples; those where a metric is n/a are left out."""
    before, after = first.metrics[name], other.metrics[name]
    if before is None or after is None or first.resamples is None or other.resamples is None:
        return None
    a, b = first.resamples.values.get(name), other.resamples.values.get(name)
    if a is None or b is None:
        return None
    draws = np.array(b, dtype=float) - np.array(a, dtype=float)
    return interval(draws, after - before)
