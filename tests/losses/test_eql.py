"""EQL: its weights, its threshold, its neutral parameter."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lt_det.errors import LtDetError
from lt_det.losses import EQL, SigmoidCrossEntropy
from lt_det.statistics.class_stats import ClassStats


def slow_eql(logits, labels, is_tail):
    """The formula, one term at a time."""
    n, k = len(labels), len(is_tail)
    total = torch.zeros((), dtype=logits.dtype)
    for r in range(n):
        for c in range(k):
            target = 1.0 if labels[r] == c else 0.0
            foreground = 1.0 if labels[r] < k else 0.0
            weight = 1 - foreground * float(is_tail[c]) * (1 - target)
            p = torch.sigmoid(logits[r, c])
            total = total - weight * (target * torch.log(p) + (1 - target) * torch.log(1 - p))
    return total / n


@given(
    st.integers(1, 5).flatmap(
        lambda k: st.tuples(
            st.lists(st.integers(0, 50), min_size=k, max_size=k),
            st.lists(st.integers(0, k), min_size=1, max_size=6),
            st.integers(0, 2**31),
        )
    ),
    st.floats(0, 1),
)
def test_equals_the_slow_loop(case, threshold):
    counts, labels, seed = case
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(len(labels), len(counts) + 1, generator=generator, dtype=torch.float64)
    labels = torch.tensor(labels)
    loss = EQL(len(counts), image_counts=counts, num_images=50, frequency_threshold=threshold)
    is_tail = [max(count, 1) / 50 < threshold for count in counts]  # a class without images counts as one
    torch.testing.assert_close(loss(logits, labels), slow_eql(logits, labels, is_tail))


def test_threshold_zero_is_sigmoid_cross_entropy():
    logits = torch.randn(10, 6, dtype=torch.float64)
    labels = torch.randint(0, 6, (10,))
    eql = EQL(5, image_counts=[0, 1, 2, 3, 4], num_images=10, frequency_threshold=0.0)
    assert eql(logits, labels) == SigmoidCrossEntropy(5)(logits, labels)


def test_background_still_suppresses_tail_classes():
    eql = EQL(2, image_counts=[1, 100], num_images=100, frequency_threshold=0.5)
    for label, pushed in ((2, True), (1, False)):
        logits = torch.zeros(1, 3, requires_grad=True)
        eql(logits, torch.tensor([label])).backward()
        assert bool(logits.grad[0, 0] > 0) is pushed


def test_comparison_is_strict():
    eql = EQL(3, image_counts=[9, 10, 11], num_images=100, frequency_threshold=0.1)
    assert eql.is_tail.tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("num_images", "published"),
    [pytest.param(56740, 0.00177, id="LVIS v0.5"), pytest.param(99388, 0.0010062, id="LVIS v1 (DropLoss)")],
)
def test_default_threshold_splits_as_the_published_one(num_images, published):
    counts = np.arange(1, 300)
    stats = ClassStats(tuple(map(str, counts)), counts, None, num_images, "test")
    default = EQL.from_stats(stats)
    assert default.is_tail.tolist() == (counts <= 100).tolist()
    assert default.is_tail.tolist() == EQL.from_stats(stats, frequency_threshold=published).is_tail.tolist()


def test_lvis_v1_has_798_tail_classes():
    from lt_det.data import training_stats

    stats = training_stats(["lvis_v1_train"])
    assert int(EQL.from_stats(stats).is_tail.sum()) == 798


def test_checkpoint_holds_nothing_that_follows_from_the_data():
    assert not EQL(2, image_counts=[1, 2], num_images=3).state_dict()


def test_bad_arguments():
    with pytest.raises(LtDetError, match=r"FREQUENCY_THRESHOLD is 1\.5"):
        EQL(2, image_counts=[1, 2], num_images=3, frequency_threshold=1.5)
    with pytest.raises(LtDetError, match="needs 2 counts"):
        EQL(2, image_counts=[1, 2, 3], num_images=3)
