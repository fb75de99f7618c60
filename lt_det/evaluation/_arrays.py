"""Stable sorting, and groups of equal values in a sorted array."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def group_starts(groups: NDArray[Any]) -> Ints:
    """Index of the first element of each group of equal neighbors."""
    return np.flatnonzero(np.concatenate([[True], groups[1:] != groups[:-1]])) if len(groups) else np.zeros(0, np.int64)


def group_bounds(groups: NDArray[Any]) -> Iterator[tuple[int, int]]:
    """Start and stop of each group of equal neighbors."""
    return itertools.pairwise([*group_starts(groups).tolist(), len(groups)]) if len(groups) else iter(())


def rank_in_group(groups: NDArray[Any]) -> Ints:
    """0, 1, 2, ... within each group of equal neighbors."""
    starts = group_starts(groups)
    return np.arange(len(groups)) - np.repeat(starts, np.diff(np.append(starts, len(groups))))


def index_ranges(first: Ints, count: Ints) -> Ints:
    """The indices first[i], ..., first[i] + count[i] - 1 of all i, concatenated."""
    starts = np.cumsum(count) - count
    return np.arange(count.sum()) - np.repeat(starts - first, count)


def descending_order(values: Floats) -> Ints:
    """The stable order that sorts (N,) values without nan from high to low."""
    order = np.argsort(-values)
    ordered = values[order]
    tied = ordered[1:] == ordered[:-1]
    if tied.any():  # sort the indices within each group of ties, as keys of a sort that need not be stable
        tie = np.concatenate([[0], np.cumsum(~tied)])
        order = np.sort(tie * len(values) + order) % len(values)
    return order


def stable_by_key(order: Ints, keys: NDArray[Any], bound: int) -> Ints:
    """`order` sorted by the keys (0 to bound - 1) of its entries; entries with equal keys keep their order."""
    keys = keys[order]
    if bound <= 1 << 16:
        keys = keys.astype(np.uint16)  # NumPy has a radix sort for 16 bits
    return order[np.argsort(keys, kind="stable")]
