"""Quantiles of RoIs, where one may stand for several."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def quantiles(values: NDArray[np.float64], weights: NDArray[np.float64], at: Sequence[float]) -> list[float]:
    """Quantiles of weighted values, interpolated linearly between the middles of their weights.

    With equal weights they are `numpy.quantile`'s.

    Args:
        values: (N,), at least one.
        weights: (N,), above 0.
        at: which quantiles, 0 to 1.
    """
    if (weights == weights[0]).all():
        return [float(number) for number in np.quantile(values, at)]
    order = np.argsort(values, kind="stable")
    middle = np.cumsum(weights[order]) - weights[order] / 2
    position = (middle - middle[0]) / (middle[-1] - middle[0])
    return [float(number) for number in np.interp(at, position, values[order])]
