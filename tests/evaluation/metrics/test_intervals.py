import numpy as np
import pytest

from lt_det.evaluation.metrics.intervals import interval


def test_spread_of_a_normal_sample_about_the_estimate():
    """The draws are 5 points above the estimate, as those of AP are."""
    low, high = interval(np.random.default_rng(0).normal(30, 2, 100_000), 25.0)
    assert low == pytest.approx(25 - 1.96 * 2, abs=0.05)
    assert high == pytest.approx(25 + 1.96 * 2, abs=0.05)


def test_none_where_most_draws_have_no_value():
    assert interval(np.asarray([1.0, np.nan, np.nan, np.nan]), 1.0) is None
    assert interval(np.zeros(0), 1.0) is None
    assert interval(np.zeros(9), np.nan) is None
