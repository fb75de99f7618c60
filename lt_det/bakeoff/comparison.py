"""From the evaluations of a candidate's trainings to the numbers of its entry: means, intervals and differences.

All evaluations of the same images use the same bootstrap draws (see `evaluation.metrics.bootstrap`). The draws of a
candidate are the means of its seeds' draws, so that an interval says how far the mean over the seeds would move with
other images; the standard deviation over the seeds is reported beside it.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from lt_det.evaluation.bakeoff_schema import BUCKET_MEAN, Delta, Metrics, Spread, bucket_mean, seen_buckets
from lt_det.evaluation.metrics.intervals import interval
from lt_det.evaluation.schema import Interval, TaskEvaluation, group_metric


def metrics_of(result: TaskEvaluation, buckets: Sequence[str]) -> Metrics:
    """The metrics of an evaluation, and the mean of those seen buckets that have an AP."""
    return {**result.metrics, BUCKET_MEAN: bucket_mean(result.metrics, buckets)}


def spreads(results: Sequence[TaskEvaluation], buckets: Sequence[str]) -> dict[str, Spread]:
    """Mean and standard deviation of each metric over the evaluations of several seeds."""
    seeds = [metrics_of(result, buckets) for result in results]
    found = {}
    for name in seeds[0] if seeds else ():
        values = [value for metrics in seeds if (value := metrics.get(name)) is not None]
        deviation = statistics.stdev(values) if len(values) > 1 else None
        found[name] = Spread(mean=statistics.fmean(values) if values else None, deviation=deviation)
    return found


def mean_intervals(results: Sequence[TaskEvaluation], buckets: Sequence[str]) -> dict[str, Interval | None]:
    """95 % intervals of the means over the seeds, clipped to the 0 to 100 of AP, for the metrics that have draws."""
    means = spreads(results, buckets)
    found = {name: _ends(draws, means[name].mean) for name, draws in _mean_draws(results, buckets).items()}
    return {name: ends and [max(ends[0], 0.0), min(ends[1], 100.0)] for name, ends in found.items()}


def paired_differences(
    results: Sequence[TaskEvaluation], baseline: Sequence[TaskEvaluation], buckets: Sequence[str]
) -> dict[str, Delta]:
    """A candidate's means minus the baseline's, with paired 95 % intervals where both have the same draws.

    Args:
        results: of the candidate, one for each seed.
        baseline: of the retrained baseline on the same images, one for each seed.
        buckets: names of the buckets.
    """
    first, other = spreads(baseline, buckets), spreads(results, buckets)
    before, after = _mean_draws(baseline, buckets), _mean_draws(results, buckets)
    paired = _pairable([*baseline, *results])
    found = {}
    for name, spread in other.items():
        old = first[name].mean if name in first else None
        value = None if spread.mean is None or old is None else spread.mean - old
        ends = _ends(after[name] - before[name], value) if paired and name in before and name in after else None
        found[name] = Delta(value=value, interval=ends)
    return found


def _mean_draws(results: Sequence[TaskEvaluation], buckets: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """(B,) per metric, the mean over the seeds; nan where a seed has no value. Empty unless all share their draws."""
    if not results or not _pairable(results):
        return {}
    seeds = [_draws(result, buckets) for result in results]
    shared = [name for name in seeds[0] if all(name in draws for draws in seeds)]
    return {name: np.mean([draws[name] for draws in seeds], axis=0) for name in shared}


def _draws(result: TaskEvaluation, buckets: Sequence[str]) -> Mapping[str, NDArray[np.float64]]:
    assert result.resamples is not None
    draws = {name: np.array(values, dtype=np.float64) for name, values in result.resamples.values.items()}
    known = [name for name in map(group_metric, seen_buckets(buckets)) if result.metrics.get(name) is not None]
    if known and all(name in draws for name in known):
        draws[BUCKET_MEAN] = np.mean([draws[name] for name in known], axis=0)
    return draws


def _pairable(results: Sequence[TaskEvaluation]) -> bool:
    """Whether the n-th draw of all is the same draw of the same images."""
    keys = {
        (resamples.seed, resamples.images, *sorted({len(values) for values in resamples.values.values()}))
        if (resamples := result.resamples)
        else None
        for result in results
    }
    return len(keys) == 1 and None not in keys


def _ends(draws: NDArray[np.float64], estimate: float | None) -> Interval | None:
    found = None if estimate is None else interval(draws, estimate)
    return None if found is None else [*found]
