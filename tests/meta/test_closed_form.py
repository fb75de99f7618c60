"""The closed form against autograd through the unrolled step, to 1e-6 and far below."""

import functools

import pytest
import torch
import torch.nn.functional as F

from lt_det.errors import LtDetError
from lt_det.losses import LOSSES, plain_formulas
from lt_det.meta.closed_form import (
    Bilevel,
    InnerStep,
    class_weight_gradient,
    hyperparameter_gradient,
    row_losses_and_gradients,
    row_weight_gradient,
)
from lt_det.meta.method import MetaLoss
from tests.helpers.bilevel import D, K, toy_classifier, toy_loss, toy_rois, unrolled_meta_loss

close = functools.partial(torch.testing.assert_close, rtol=1e-9, atol=1e-12)
PLAIN = InnerStep(0.3)
STEPS = [PLAIN, InnerStep(0.3, 0.9, 0.05), InnerStep(0.3, 0.9, 0.05, nesterov=True)]


def mean_loss(logits, targets):
    return F.cross_entropy(logits, targets)


def closed_form(loss, classifier, rois, meta_rois, v, step=PLAIN, meta_loss=None, buffers=None):
    """∂M/∂v_i by the closed form, and P."""
    features, targets = rois
    _, d = row_losses_and_gradients(loss, classifier(features), targets, features)
    bilevel = Bilevel(classifier, step, features, meta_loss or toy_loss("softmax"), *meta_rois, buffers or {})
    P = bilevel.gradient(v.unsqueeze(1) * d / len(d))
    return row_weight_gradient(P, d, len(d)), P


def unrolled(loss, classifier, rois, meta_rois, v, step=PLAIN, meta_loss=mean_loss, buffers=None):
    """∂M/∂v_i by autograd through the step."""
    features, targets = rois
    v = v.clone().requires_grad_()

    def weighted(logits):
        return (v * loss(logits(features), targets, features, "none")).sum() / len(v)

    M = unrolled_meta_loss(classifier, weighted, meta_loss, meta_rois, step, buffers)
    return torch.autograd.grad(M, v)[0]


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_weights_of_rows_for_every_loss(name):
    loss = toy_loss(name, **({"alpha": 100.0} if name == "ib" else {}))
    classifier = toy_classifier(loss)
    meta = MetaLoss(loss)
    problem = loss, classifier, toy_rois(16), toy_rois(12), torch.rand(16, dtype=torch.float64)
    torch.manual_seed(1)  # a loss may draw classes at random
    by_v, _ = closed_form(*problem, meta_loss=meta)
    torch.manual_seed(1)
    with plain_formulas():  # the fast paths have no second derivatives
        expected = unrolled(*problem, meta_loss=meta)
    assert expected.abs().max() > 1e-6
    close(by_v, expected)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("kind", ["linear", "cosine", "scaled"])
def test_every_classifier_and_step(kind, step):
    loss = toy_loss("softmax")
    classifier = toy_classifier(loss, kind)
    buffers = {name: torch.randn_like(parameter) for name, parameter in classifier.named_parameters()}
    problem = loss, classifier, toy_rois(16), toy_rois(12), torch.rand(16, dtype=torch.float64)
    by_v, _ = closed_form(*problem, step=step, buffers=buffers)
    close(by_v, unrolled(*problem, step=step, buffers=buffers))


def test_loss_without_second_derivatives():
    loss = toy_loss("sigmoid")
    problem = loss, toy_classifier(loss), toy_rois(16), toy_rois(12), torch.rand(16, dtype=torch.float64)
    with pytest.raises(LtDetError, match="second derivative"):
        unrolled(*problem)
    by_v, _ = closed_form(*problem)
    with plain_formulas():
        close(by_v, unrolled(*problem))


def test_step_is_that_of_the_optimizer():
    for step in STEPS:
        layer = torch.nn.Linear(D, K).double()
        optimizer = torch.optim.SGD(
            layer.parameters(),
            step.learning_rate,
            step.momentum,
            weight_decay=step.weight_decay,
            nesterov=step.nesterov,
        )
        for _ in range(3):
            weights = {name: parameter.detach().clone() for name, parameter in layer.named_parameters()}
            gradient = {name: torch.randn_like(weight) for name, weight in weights.items()}
            buffers = {
                name: optimizer.state[parameter]["momentum_buffer"].clone()
                for name, parameter in layer.named_parameters()
                if optimizer.state[parameter].get("momentum_buffer") is not None
            }
            for name, parameter in layer.named_parameters():
                parameter.grad = gradient[name].clone()
            optimizer.step()
            close(dict(layer.named_parameters()), step.apply(weights, gradient, buffers))


def test_weights_of_classes_and_columns():
    loss = toy_loss("sigmoid")
    classifier, (features, targets), meta_rois = toy_classifier(loss), toy_rois(16), toy_rois(12)
    t = F.one_hot(targets, K + 1)[:, :K].double()
    omega, w = torch.rand(K + 1, dtype=torch.float64), torch.rand(16, K, dtype=torch.float64)
    omega.requires_grad_()
    w.requires_grad_()

    def weighted(logits):
        terms = F.binary_cross_entropy_with_logits(logits(features)[:, :K], t, reduction="none")
        return (omega[targets].unsqueeze(1) * w * terms).sum() / 16

    M = unrolled_meta_loss(classifier, weighted, mean_loss, meta_rois, PLAIN)
    by_omega, by_w = torch.autograd.grad(M, (omega, w))

    e = torch.sigmoid(classifier(features)) - F.pad(t, (0, 1))
    e[:, K] = 0
    masked = F.pad(w.detach(), (0, 1)) * e
    A = omega.detach()[targets].unsqueeze(1) * masked / 16
    P = Bilevel(classifier, PLAIN, features, toy_loss("softmax"), *meta_rois).gradient(A)
    close(class_weight_gradient(row_weight_gradient(P, masked, 16), targets, K), by_omega)
    close((P * omega.detach()[targets].unsqueeze(1) * e / 16)[:, :K], by_w)


def test_exponent_of_the_focal_loss():
    """A hyper-parameter with a formula of its own: gamma, of two classes' probability p of the target."""
    loss = toy_loss("softmax")
    classifier, (features, targets), meta_rois = toy_classifier(loss), toy_rois(16), toy_rois(12)
    gamma = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)

    def focal(logits):
        p = logits(features).softmax(dim=1).gather(1, targets[:, None]).squeeze(1)
        return (-((1 - p) ** gamma) * p.log()).mean()

    (expected,) = torch.autograd.grad(unrolled_meta_loss(classifier, focal, mean_loss, meta_rois, PLAIN), gamma)
    z = classifier(features).detach()
    p = z.softmax(dim=1)
    p_y = p.gather(1, targets[:, None])
    by_p = gamma * (1 - p_y) ** (gamma - 1) * p_y.log() - (1 - p_y) ** gamma / p_y
    A = by_p * p_y * (F.one_hot(targets, K + 1) - p) / 16
    P = Bilevel(classifier, PLAIN, features, loss, *meta_rois).gradient(A.detach())
    close(hyperparameter_gradient(P, A, gamma), expected)


def test_sum_with_the_training_set_as_meta_set():
    """Σ_i ∂M/∂v_i → −η ‖∇L‖² at v = 1 as η → 0."""
    loss, rois = toy_loss("softmax"), toy_rois(16)
    classifier = toy_classifier(loss)
    gradient = torch.autograd.grad(loss(classifier(rois[0]), rois[1]), list(classifier.parameters()))
    squared = sum((g**2).sum() for g in gradient)
    errors = []
    for eta in (1e-3, 1e-6):
        by_v, _ = closed_form(loss, classifier, rois, rois, torch.ones(16, dtype=torch.float64), InnerStep(eta))
        errors.append(float(abs(by_v.sum() / (-eta * squared) - 1)))
    assert errors[0] < 1e-2
    assert errors[1] < 1e-5
