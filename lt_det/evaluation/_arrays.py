"""Sorting that keeps ties in order, and groups of equal values in a sorted array."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def run_starts(groups: NDArray[Any]) -> NDArray[np.int64]:
    """Where each run begins."""
    return np.flatnonzero(np.concatenate([[True], groups[1:] != groups[:-1]])) if len(groups) else np.zeros(0, np.int64)


def run_bounds(groups: NDArray[Any]) -> Iterator[tuple[int, int]]:
    """Start and stop of each run."""
    return itertools.pairwise([*run_starts(groups).tolist(), len(groups)]) if len(groups) else iter(())


def positions(groups: NDArray[Any]) -> NDArray[np.int64]:
    """0, 1, 2 ... inside each run of equal values."""
    starts = run_starts(groups)
    return np.arange(len(groups)) - np.repeat(starts, np.diff(np.append(starts, len(groups))))


def ranges(first: NDArray[np.int64], count: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The indices first[i] .. first[i] + count[i] - 1 of all i in a row, and where each begins in that row."""
    starts = np.cumsum(count) - count
    return np.arange(count.sum()) - np.repeat(starts - first, count), starts


def falling(values: NDArray[np.float64]) -> Ints:
    """The order of (N,) values without nan, the highest first."""
    order = np.argsort(-values)
    ordered = values[order]
    tied = ordered[1:] == ordered[:-1]
    if tied.any():  # sort the places inside each run of equal values: as numbers, whose sort needs no stability
        run = np.concatenate([[0], np.cumsum(~tied)])
        order = np.sort(run * len(values) + order) % len(values)
    return order


def grouped(order: Ints, keys: NDArray[Any], bound: int) -> Ints:
    """`order` sorted by the keys of its entries, 0 .. bound - 1, equal ones as they were."""
    keys = keys[order]
    if bound <= 1 << 16:
        keys = keys.astype(np.uint16)  # for which NumPy has a radix sort
    return order[np.argsort(keys, kind="stable")]
