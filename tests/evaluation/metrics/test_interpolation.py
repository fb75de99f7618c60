"""The two forms of the interpolated precision against each other and against a loop."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lt_det.evaluation.metrics.interpolation import (
    descending_envelope,
    num_recalls_reached,
    precision_at_recalls,
    true_positives_needed,
)
from lt_det.evaluation.protocols import RECALL_THRESHOLDS


@given(st.lists(st.tuples(st.integers(0, 12), st.lists(st.integers(0, 3), min_size=1, max_size=12)), min_size=1))
def test_both_forms_equal_a_loop(classes):
    """Of each class the number of objects beyond those found, and the false positives before each true positive."""
    num_objects = np.array([extra + len(fp) for extra, fp in classes])
    curve = np.repeat(np.arange(len(classes)), [len(fp) for _, fp in classes])
    tp = np.concatenate([np.arange(1, len(fp) + 1) for _, fp in classes]).astype(np.int32)
    precision = tp / (tp + np.concatenate([np.cumsum(fp) for _, fp in classes]))
    starts = np.searchsorted(curve, np.arange(len(classes)))

    table = precision_at_recalls(precision, starts, true_positives_needed(num_objects))
    for k in range(len(classes)):
        points = list(zip(tp[curve == k] / num_objects[k], precision[curve == k], strict=True))
        slow = [max((p for r, p in points if r >= recall), default=0.0) for recall in RECALL_THRESHOLDS]
        assert table[k].tolist() == slow

    reached = num_recalls_reached(tp, num_objects[curve].astype(np.float64))
    gained = np.diff(reached, prepend=0)
    gained[starts] = reached[starts]
    ap = np.bincount(curve, descending_envelope(precision, curve, len(classes)) * gained) / len(RECALL_THRESHOLDS)
    np.testing.assert_allclose(ap, table.mean(axis=1), atol=1e-12)


def test_no_true_positive_reaches_no_recall():
    assert num_recalls_reached(np.array([0, 1, 100], dtype=np.int32), np.array([7.0, 100.0, 100.0])).tolist() == [
        0,
        2,
        101,
    ]
