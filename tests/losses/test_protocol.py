"""The contract that every registered loss keeps."""

import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck

from lt_det.errors import LtDetError
from lt_det.losses import (
    LOSSES,
    ClassificationLoss,
    build_loss,
    build_loss_without_stats,
    loss_class,
    register_loss,
    require_statistics,
)
from lt_det.statistics.class_stats import ClassStats

K = 6
STATS = ClassStats(
    names=tuple("abcdef"),
    image_counts=np.array([1, 5, 10, 60, 100, 900]),
    instance_counts=np.array([1, 9, 12, 80, 150, 4000]),
    num_images=1000,
    source="test",
)
FEATURES = torch.rand(32, 7, generator=torch.Generator().manual_seed(1))
every_loss = pytest.mark.parametrize("name", sorted(LOSSES))


def batch(name, n=8, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    loss = build_loss(name, STATS)
    loss.progress = 0.0
    logits = torch.randn(n, loss.num_logits, generator=generator, dtype=dtype).requires_grad_()
    return loss, logits, torch.randint(0, K + 1, (n,), generator=generator)


@every_loss
def test_gradient_is_that_of_the_loss(name):
    loss, logits, labels = batch(name, dtype=torch.float64)
    loss.eval()  # a loss with state must not move while its slope is measured
    loss.progress = 1.0
    if name == "ib":
        loss.alpha = 1.0
    if name == "seesaw":
        loss.q = 0.0  # its compensation factor is held constant in the gradient, by definition

    def value(z):
        torch.manual_seed(0)  # and must sample the same classes
        return loss(z, labels, FEATURES[: len(z)])

    assert gradcheck(value, [logits])


@every_loss
def test_empty_batch_is_zero_with_a_gradient(name):
    loss, logits, labels = batch(name, n=0)
    value = loss(logits, labels, FEATURES[: len(labels)])
    value.backward()
    assert value.item() == 0
    assert logits.grad.shape == logits.shape


@every_loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("size", [1.0, 1e4])
def test_large_logits_stay_finite_and_in_float32(name, dtype, size):
    loss, logits, labels = batch(name)
    logits = (logits.detach().sign() * size).to(dtype).requires_grad_()
    value = loss(logits, labels, FEATURES[: len(labels)])
    value.backward()
    assert value.dtype == torch.float32
    assert torch.isfinite(value)
    assert torch.isfinite(logits.grad).all()


@every_loss
@pytest.mark.parametrize("progress", [0.0, 1.0])
def test_autocast_changes_nothing(name, progress):
    values, gradients = [], []
    for enabled in (False, True):
        torch.manual_seed(0)
        loss, logits, labels = batch(name, n=32)
        loss.progress = progress
        if name == "ib":
            loss.alpha = 1.0
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            value = loss(logits, labels, FEATURES)
        value.backward()
        values.append(value)
        gradients.append(logits.grad)
    assert values[0] == values[1]
    assert torch.equal(*gradients)


@every_loss
@pytest.mark.parametrize("label", [K, 0])
def test_only_background_and_only_foreground(name, label):
    loss, logits, labels = batch(name)
    value = loss(logits, torch.full_like(labels, label), FEATURES[: len(labels)])
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(logits.grad).all()


@every_loss
@pytest.mark.parametrize("counts", [[1], [0], [1_000_000], [0, 1, 1_000_000]])
def test_one_class_and_counts_from_zero_to_a_million(name, counts):
    stats = ClassStats(tuple(map(str, counts)), np.array(counts), np.array(counts), max(sum(counts), 1), "test")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes without images
        loss = build_loss(name, stats)
    for progress in (0.0, 1.0):
        loss.progress = progress
        logits = torch.zeros(4, loss.num_logits, requires_grad=True)
        value = loss(logits, torch.tensor([0, len(counts) - 1, len(counts), len(counts)]), FEATURES[:4])
        value.backward()
        assert torch.isfinite(value)
        assert torch.isfinite(logits.grad).all()
        assert logits.grad.any()


@every_loss
def test_scores_are_probabilities_with_background_last(name):
    loss, logits, _ = batch(name)
    scores = loss.scores(logits)
    assert scores.shape == (len(logits), K + 1)
    assert ((scores >= 0) & (scores <= 1)).all()


@every_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_scores_of_half_precision_logits_are_float32(name, dtype):
    loss, logits, _ = batch(name)
    assert loss.scores(logits.detach().to(dtype)).dtype == torch.float32


@every_loss
def test_predicted_class_follows_the_largest_logit(name):
    loss, _, _ = batch(name)
    logits = torch.full((2, loss.num_logits), -5.0)
    logits[0, 3] = 5.0
    logits[1, K] = 4.0  # background, or the dead column of a sigmoid loss beside five negatives
    if name == "seesaw":  # K classes, foreground, background
        logits[0, K], logits[1, K], logits[1, K + 1] = 4.0, -5.0, 4.0
    assert loss.predicted_classes(logits).tolist() == [3, K]


@every_loss
def test_without_statistics_it_scores_and_refuses_to_train(name):
    trained, logits, labels = batch(name)
    loss = build_loss_without_stats(name, K, reason="the json is on another machine")
    loss.load_state_dict(trained.state_dict())
    assert torch.equal(loss.scores(logits), trained.scores(logits))
    if loss.statistics:
        with pytest.raises(LtDetError, match="the json is on another machine"):
            require_statistics(torch.nn.Sequential(loss))
        with pytest.raises(LtDetError, match="the json is on another machine"):
            loss(logits, labels, FEATURES[: len(labels)])
    else:
        require_statistics(loss)


@every_loss
def test_minimum_is_at_the_labels(name):
    """Gradient descent on the logits ends at the labels."""
    loss, logits, labels = batch(name, n=20)
    optimizer = torch.optim.SGD([logits], lr=20.0)
    for _ in range(300):
        optimizer.zero_grad()
        loss(logits, labels, FEATURES[: len(labels)]).backward()
        optimizer.step()
    assert torch.equal(loss.predicted_classes(logits), labels)


def test_softmax_is_cross_entropy():
    loss, logits, labels = batch("softmax")
    assert loss(logits, labels, FEATURES[: len(labels)]) == F.cross_entropy(logits, labels)


def test_sigmoid_starts_at_the_prior():
    loss, _, _ = batch("sigmoid")
    bias = loss.initial_bias()
    torch.testing.assert_close(bias[:K].sigmoid(), torch.full((K,), 0.001))
    assert bias[K] == 0


def test_unknown_loss_names_the_known_ones():
    with pytest.raises(
        LtDetError, match=r"no loss 'eqll'; did you mean 'eql'\? Known losses: cdt, class_balanced, eql, "
    ):
        loss_class("eqll")


def test_unknown_hyperparameter_names_the_known_ones():
    with pytest.raises(LtDetError, match="'lam'; it has: frequency_threshold, exempt_background, prior_prob"):
        build_loss("eql", STATS, lam=0.1)


@pytest.mark.parametrize("prior", [0.0, 1.0, -1.0])
def test_prior_must_be_a_probability(prior):
    with pytest.raises(LtDetError, match="PRIOR_PROB must lie between 0 and 1"):
        build_loss("sigmoid", STATS, prior_prob=prior)


def test_a_loss_needs_a_class():
    with pytest.raises(LtDetError, match="num_classes is 0"):
        build_loss_without_stats("softmax", 0)


def test_a_name_is_given_once():
    with pytest.raises(ValueError, match="'eql' is registered already"):
        register_loss("eql")(ClassificationLoss)


def test_a_hyperparameter_needs_a_default():
    class Mine(ClassificationLoss):
        statistics = ("image_counts",)

        def __init__(self, num_classes, *, image_counts=None, strength):
            super().__init__(num_classes)

    with pytest.raises(LtDetError, match=r"Mine \('mine'\) has the hyper-parameter 'strength' without a default"):
        register_loss("mine")(Mine)
    assert "mine" not in LOSSES
