"""Which buckets divide the classes of a training set, for data where the buckets in use do not."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from lt_det.statistics.buckets import UNSEEN, FrequencyBuckets
from lt_det.statistics.class_stats import ClassStats, CountBy

GROUPS = 3  # as many as LVIS has


def suggested_edges(counts: NDArray[np.int64], groups: int = GROUPS) -> list[int]:
    """Round edges between the quantiles of the counts: buckets with about the same number of classes.

    Args:
        counts: (K,) training images or instances of the classes; those without any have a bucket of their own.
        groups: number of buckets; fewer are made where too many counts are equal.

    Returns:
        Inclusive upper edges, ascending, at most one fewer than groups; none if all counts are equal.
    """
    seen = np.sort(counts[counts > 0])
    places = np.flatnonzero(seen[1:] > seen[:-1]) + 1  # where one bucket can end and the next begin
    chosen = {
        int(places[np.abs(places - cut * len(seen) / groups).argmin()]) for cut in range(1, groups) if len(places)
    }
    return [_roundest(int(seen[place - 1]), int(seen[place]) - 1) for place in sorted(chosen)]


def frequency_threshold(counts: NDArray[np.int64], edge: int, num_images: int) -> str:
    """The shortest decimal that only the classes of up to `edge` images are below, as fractions of the images.

    Args:
        counts: (K,) images of the classes; some are up to `edge`, some above.
        edge: see `suggested_edges`.
        num_images: of the set.
    """
    frequencies, expected = counts / num_images, counts <= edge
    low, high = frequencies[expected].max(), frequencies[~expected].min()
    for digits in range(1, 17):
        for value in (edge / num_images, (low + high) / 2):
            if np.array_equal(frequencies < float(f"{value:.{digits}g}"), expected):
                return f"{value:.{digits}g}"
    return repr(float(high))


def one_bucket_advice(buckets: FrequencyBuckets, stats: ClassStats | None) -> str:
    """Say that all classes are in one bucket, and what divides them; empty if they are in several, or there is one.

    Classes without training samples, which have a bucket of their own, do not count.

    Args:
        buckets: of the classes.
        stats: class counts of the training set; None if they are not known.
    """
    sizes = {name: size for name, size in zip(buckets.names, buckets.sizes(), strict=True) if size and name != UNSEEN}
    if len(sizes) != 1 or (buckets.assignment < 0).any():
        return ""
    [(name, size)] = sizes.items()
    if size < 2:
        return ""
    seen = f" with training {buckets.by}" if size < len(buckets.assignment) else ""
    found = f"All {size} classes{seen} are in one bucket, {name}, so that its AP is the AP over all classes. "
    if stats is None:
        return (
            f"{found}Name the training set (--train-stats, or DATASETS.TRAIN in a config), and divide the classes by "
            f"its counts: {_alternatives([('images', None, min(GROUPS, size))])}."
        )
    choices = _choices(stats)
    if not choices:
        known = "images" if stats.instance_counts is None else "images and of instances"
        return f"{found}All have the same number of training {known}, so there is no tail to report."
    later = "" if stats.instance_counts is not None else "; lt-det stats --by instances suggests edges for instances"
    return f"{found}To divide them: {_alternatives(choices)}{later}."


_Choice = tuple[CountBy, list[int] | None, int | None]  # what is counted, edges, groups


def _choices(stats: ClassStats) -> list[_Choice]:
    kinds: list[CountBy] = ["images"] if stats.instance_counts is None else ["images", "instances"]
    edges = {by: found for by in kinds if (found := suggested_edges(stats.counts(by)))}
    if not edges:
        return []
    first = next(iter(edges))
    groups = min(GROUPS, int((stats.counts(first) > 0).sum()))
    return [(first, None, groups), *((by, found, None) for by, found in edges.items())]


def _alternatives(choices: list[_Choice]) -> str:
    """The choices as options of the command line, and as keys of a config."""
    options, keys = [], []
    for by, edges, groups in choices:
        option, key = ("--by instances ", "TEST.BUCKETS.BY instances ") if by == "instances" else ("", "")
        if edges is not None:
            option += f"--edges {' '.join(map(str, edges))}"
            key += f"TEST.BUCKETS.EDGES [{','.join(map(str, edges))}]"
        else:
            option += f"--groups {groups}"
            key += f"TEST.BUCKETS.EQUAL_GROUPS {groups}"
        options.append(option)
        keys.append(key)
    return f"{_listed(options)} (lt-det stats and evaluate), or in a config {_listed(keys)}"


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _roundest(low: int, high: int) -> int:
    """The number from low to high that reads best: 1, 2 or 5 times a power of 10, else with the most zeros at its end.

    Among several, the nearest to the middle of the range on a log scale.
    """
    middle = math.sqrt(low * high)

    def distance(number: int) -> float:
        return abs(math.log(number / middle))

    round_numbers: list[int] = [digit * int(10**power) for power in range(len(str(high))) for digit in (1, 2, 5)]
    if inside := [number for number in round_numbers if low <= number <= high]:
        return min(inside, key=distance)
    for step in reversed(round_numbers):
        first = -(-low // step) * step
        if first <= high:
            return min((first, high // step * step, max(first, int(middle) // step * step)), key=distance)
    return high
