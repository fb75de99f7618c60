import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lt_det.evaluation._arrays import descending_order, stable_by_key


@given(st.lists(st.sampled_from([0.0, -0.0, 0.25, 0.5, 1.0, -3.0, float("inf")]) | st.floats(0, 1)))
def test_ties_stay_in_order(values):
    scores = np.array(values, dtype=np.float64)
    np.testing.assert_array_equal(descending_order(scores), np.argsort(-scores, kind="stable"))


@pytest.mark.parametrize("bound", [5, 1 << 17])
def test_stable_by_key(bound):
    generator = np.random.default_rng(0)
    keys, order = generator.integers(5, size=100), generator.permutation(100)[:80]
    np.testing.assert_array_equal(stable_by_key(order, keys, bound), order[np.argsort(keys[order], kind="stable")])
