"""Means, spreads and paired differences of results over seeds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.evidence.plan import DEFAULT_DATASET, Job, Plan
from benchmarks.evidence.rows import read_row
from lt_det.evaluation.metrics.intervals import interval

SEEDS = range(10)  # in which results are looked for
MIN_SEEDS = 3  # for an interval over seeds
# The 0.975 quantiles of Student's t, by degrees of freedom.
_T = {2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}


@dataclass(frozen=True)
class Cell:
    """The results of one row by seed.

    Attributes:
        jobs: by seed, those with a result.
        metrics: by seed, in percent.
    """

    jobs: dict[int, Job]
    metrics: dict[int, dict[str, float | None]]

    def values(self, metric: str) -> dict[int, float]:
        """By seed, where the metric has a value."""
        found = {seed: metrics.get(metric) for seed, metrics in self.metrics.items()}
        return {seed: value for seed, value in found.items() if value is not None}

    def mean(self, metric: str) -> float | None:
        """The plain mean over the seeds; None without any."""
        values = self.values(metric)
        return statistics.fmean(values.values()) if values else None

    def spread(self, metric: str) -> float | None:
        """The sample standard deviation over the seeds; None with fewer than two."""
        values = self.values(metric)
        return statistics.stdev(values.values()) if len(values) > 1 else None


@dataclass(frozen=True)
class Difference:
    """A row's metric minus that of a baseline with the same seeds, in points.

    Attributes:
        value: mean over the seeds that both have.
        seeds: their number.
        over_seeds: 95 % interval of the mean by Student's t, for other seeds and the same images; None with fewer than
            three seeds.
        over_images: 95 % interval by the paired bootstrap of the images, for other images and the same seeds; None
            without draws.
    """

    value: float
    seeds: int
    over_seeds: tuple[float, float] | None
    over_images: tuple[float, float] | None


def cell(
    plan: Plan,
    row: str,
    iterations: int,
    dataset: str = DEFAULT_DATASET,
    factor: float | Literal["chosen"] = "chosen",
) -> Cell:
    """The results of a row that there are."""
    jobs, metrics = {}, {}
    for seed in SEEDS:
        job = plan.job(row, dataset, iterations, seed, factor)
        if (result := job.result()) and (found := metrics_of_result(plan, job, result)):
            jobs[seed], metrics[seed] = job, found
    return Cell(jobs, metrics)


def metrics_of_result(plan: Plan, job: Job, result: dict[str, Any]) -> dict[str, float | None] | None:
    """The metrics of a result; those of an adjustment are under the value that is best in the search, or None."""
    if "values" not in result:
        return thirds(result) | result["metrics"]
    value = chosen_value(plan, job.row)
    return None if value is None else result["values"][value]


def chosen_value(plan: Plan, row: str) -> str | None:
    """The strength of a post-hoc adjustment with the best AP in the search, the weakest of equal ones."""
    (job,) = plan.search_jobs(row)
    result = job.result()
    if result is None:
        return None
    return max(result["values"], key=lambda value: (result["values"][value]["AP"], -float(value)))


def thirds(result: dict[str, Any]) -> dict[str, float | None]:
    """AP of the rarest and of the most frequent third of the classes, by training images."""
    if "class_images" not in result:
        return {}
    of_class = np.array(result["class_ap"], dtype=float)  # None becomes nan
    return {
        f"AP {name}": float(np.nanmean(of_class[part])) if np.isfinite(of_class[part]).any() else None
        for name, part in classes_of_thirds(result["class_images"]).items()
    }


def classes_of_thirds(images: Sequence[int]) -> dict[str, NDArray[np.intp]]:
    """Indices of the classes in the rarest and in the most frequent third; of equal classes, the first is rarer."""
    order = np.argsort(images, kind="stable")
    number = len(order) // 3
    return {"rarest third": order[:number], "most frequent third": order[-number:]}


def difference(row: Cell, baseline: Cell, metric: str) -> Difference | None:
    """None where the two have no seed in common."""
    values, base = row.values(metric), baseline.values(metric)
    seeds = sorted(set(values) & set(base))
    if not seeds:
        return None
    differences = [values[seed] - base[seed] for seed in seeds]
    mean = statistics.fmean(differences)
    pairs = [(row.jobs[seed].name, baseline.jobs[seed].name) for seed in seeds]
    return Difference(mean, len(seeds), t_interval(differences), paired_interval(pairs, metric, mean))


def t_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """95 % interval of the mean of some values; None with fewer than `MIN_SEEDS`."""
    if len(values) < MIN_SEEDS:
        return None
    mean = statistics.fmean(values)
    half = _T[len(values) - 1] * statistics.stdev(values) / sqrt(len(values))
    return mean - half, mean + half


def paired_interval(pairs: Sequence[tuple[str, str]], metric: str, value: float) -> tuple[float, float] | None:
    """95 % interval of a mean difference by the paired bootstrap of the images.

    Args:
        pairs: KIND/NAME of a result and of its baseline, one pair for each seed.
        metric: one of those in the draws.
        value: the mean of the measured differences.

    Returns:
        Lower and upper end; None if a result has no draws, or has them of other images than its baseline.
    """
    draws = []
    for pair in pairs:
        after, before = (read_row(f"draws/{kind}", name) or {} for kind, name in (one.split("/") for one in pair))
        if metric not in after or metric not in before:
            return None
        if (after["images"], after["seed"]) != (before["images"], before["seed"]):
            return None
        draws.append(np.array(after[metric], dtype=float) - np.array(before[metric], dtype=float))
    return interval(np.mean(draws, axis=0), value)
