"""95 % intervals from bootstrap draws."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_PERCENTILES = (2.5, 97.5)
_MIN_KNOWN = 0.5  # fraction of the draws


def interval(draws: NDArray[np.float64], estimate: float) -> tuple[float, float] | None:
    """The percentile interval of the draws, shifted so that their mean is the estimate.

    A resampled set contains some images twice, which raises AP, so that plain percentiles are biased upwards.
    ``benchmarks/intervals.py`` measures how often the shifted intervals cover the true value.

    Args:
        draws: (B,) values of a metric, or of a difference of two, in percent; nan where a draw has no value.
        estimate: value on the whole set.

    Returns:
        Lower and upper end; None if fewer than half of the draws have a value.
    """
    known = draws[np.isfinite(draws)]
    if not len(known) or len(known) < _MIN_KNOWN * len(draws) or not np.isfinite(estimate):
        return None
    low, high = np.percentile(known, _PERCENTILES) - known.mean() + estimate
    return float(low), float(high)
