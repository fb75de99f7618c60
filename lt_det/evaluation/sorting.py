"""Sorting that keeps ties as they were, several times faster than NumPy's stable sort of floats."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


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
