"""95 % intervals from bootstrap draws."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_ENDS = (2.5, 97.5)  # percent of the draws below the ends
_FEWEST_KNOWN = 0.5  # share of the draws


def interval(draws: NDArray[np.float64], estimate: float) -> tuple[float, float] | None:
    """The spread of the draws, about what was measured.

    A drawn set holds some images twice, by which AP rises, so that the plain percentiles lie too high; therefore the
    draws are moved so that their mean is the estimate. How often such intervals hold what they should is measured by
    ``benchmarks/intervals.py``.

    Args:
        draws: (B,) a metric, or a difference of two, in percent; nan where a draw had nothing to judge.
        estimate: what the whole set gave.

    Returns:
        Lower and upper end; None where fewer than half of the draws are known.
    """
    known = draws[np.isfinite(draws)]
    if not len(known) or len(known) < _FEWEST_KNOWN * len(draws) or not np.isfinite(estimate):
        return None
    low, high = np.percentile(known, _ENDS) - known.mean() + estimate
    return float(low), float(high)
