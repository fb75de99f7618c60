"""At its neutral setting a loss is its parent: value and gradient."""

import pytest
import torch
import torch.nn.functional as F

from lt_det.losses import (
    CDT,
    EQL,
    LDAM,
    ClassBalanced,
    ClassReweighting,
    EQLv2,
    Federated,
    InfluenceBalanced,
    LabelSmoothing,
    LogitAdjustment,
    Seesaw,
    SigmoidCrossEntropy,
    SigmoidFocal,
    SoftmaxCrossEntropy,
    SoftmaxEQL,
    effective_number_weights,
)

K = 5
SKEWED = [1, 3, 20, 500, 1_000_000]
EQUAL = [7] * K
IMAGES = {"image_counts": SKEWED, "num_images": 1_000_000}
SOFTMAX = SoftmaxCrossEntropy(K)
SIGMOID = SigmoidCrossEntropy(K)


def reweighted(counts, beta):
    return ClassReweighting(SoftmaxCrossEntropy(K), effective_number_weights(counts, beta))


def cosine_softmax(logits, labels):
    return F.cross_entropy(30.0 * logits, labels)


def with_objectness(logits, labels):
    """Cross-entropy over K columns on foreground, and objectness over two more."""
    foreground = labels < K
    classes = F.cross_entropy(logits[foreground][:, :K], labels[foreground], reduction="sum")
    return (classes + F.cross_entropy(logits[:, K:], (~foreground).long(), reduction="sum")) / len(labels)


def binary(logits, labels):
    """Over K+1 columns, the last being background against everything."""
    targets = F.one_hot(labels, K + 1).to(logits.dtype)
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="sum") / len(labels)


def by_foreground(logits, labels):
    return SIGMOID(logits, labels) * len(labels) / (labels < K).sum()


NEUTRAL = {
    "label smoothing 0": (LabelSmoothing(K, smoothing=0.0), SOFTMAX),
    "label smoothing by equal frequencies": (
        LabelSmoothing(K, instance_counts=EQUAL, prior="frequency"),
        LabelSmoothing(K),
    ),
    "SEQL gamma 0": (SoftmaxEQL(K, **IMAGES, gamma=0.0), SOFTMAX),
    "SEQL lambda 0": (SoftmaxEQL(K, **IMAGES, frequency_threshold=0.0), SOFTMAX),
    "CB beta 0": (ClassBalanced(K, instance_counts=SKEWED, beta=0.0), SOFTMAX),
    "CB equal counts": (ClassBalanced(K, instance_counts=EQUAL), SOFTMAX),
    "CB equal counts over weights": (ClassBalanced(K, instance_counts=EQUAL, divide_by_weights=True), SOFTMAX),
    "CB equal counts over instances": (ClassBalanced(K, instance_counts=EQUAL, mean_over="instances"), SOFTMAX),
    "CB sigmoid equal counts": (ClassBalanced(K, instance_counts=EQUAL, base="sigmoid"), by_foreground),
    "CB focal gamma 0 beta 0": (
        ClassBalanced(K, instance_counts=SKEWED, base="focal", beta=0.0, gamma=0.0),
        by_foreground,
    ),
    "LDAM uniform margin is LDAM of equal counts": (
        LDAM(K, instance_counts=SKEWED, uniform_margin=True),
        LDAM(K, instance_counts=EQUAL),
    ),
    "LDAM margin 0": (LDAM(K, instance_counts=SKEWED, max_margin=0.0), cosine_softmax),
    "CDT gamma 0": (CDT(K, instance_counts=SKEWED, gamma=0.0), SOFTMAX),
    "CDT equal counts": (CDT(K, instance_counts=EQUAL), SOFTMAX),
    "logit adjustment tau 0": (LogitAdjustment(K, instance_counts=SKEWED, tau=0.0), SOFTMAX),
    "logit adjustment equal counts": (LogitAdjustment(K, instance_counts=EQUAL), SOFTMAX),
    "DRW beta 0": (reweighted(SKEWED, 0.0), SOFTMAX),
    "DRW equal counts": (reweighted(EQUAL, 0.9999), SOFTMAX),
    "focal gamma 0 without alpha": (SigmoidFocal(K, alpha=None, gamma=0.0, divide_by="rois"), SIGMOID),
    "EQL lambda 0": (EQL(K, **IMAGES, frequency_threshold=0.0), SIGMOID),
    "EQLv2 before the first gradient": (EQLv2(K), binary),
    "Seesaw p = q = 0": (Seesaw(K, p=0.0, q=0.0), with_objectness),
    "federated, all classes": (Federated(K, image_counts=SKEWED, num_sampled=K + 1), SIGMOID),
}


@pytest.mark.parametrize("name", NEUTRAL)
def test_neutral_setting_is_the_parent(name):
    loss, parent = NEUTRAL[name]
    generator = torch.Generator().manual_seed(0)
    columns = getattr(loss, "num_logits", K + 1)
    logits = torch.randn(40, columns, generator=generator, dtype=torch.float64).requires_grad_()
    labels = torch.randint(0, K + 1, (40,), generator=generator)
    value, expected = loss(logits, labels), parent(logits, labels)
    torch.testing.assert_close(value, expected, rtol=1e-14, atol=0)
    (gradient,) = torch.autograd.grad(value, logits)
    (expected_gradient,) = torch.autograd.grad(expected, logits)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-12, atol=1e-16)  # an ulp of p - 1


def test_ib_of_equal_influence_is_softmax_at_its_measured_alpha():
    """Where all rows have one influence and all classes one count, phase 2 with the factor held is phase 1."""
    loss = InfluenceBalanced(2, instance_counts=[5, 5], start=0.5, detach_factor=True)
    loss.double()
    logits = torch.zeros(6, 3, dtype=torch.float64, requires_grad=True)
    labels, features = torch.tensor([0, 1, 2, 0, 1, 2]), torch.ones(6, 4, dtype=torch.float64)
    results = []
    for loss.progress in (0.0, 0.5):
        value = loss(logits, labels, features)
        results.append((value, *torch.autograd.grad(value, logits)))
    torch.testing.assert_close(results[1], results[0], rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    "loss",
    [
        LabelSmoothing(K, instance_counts=SKEWED, prior="frequency"),
        SoftmaxEQL(K, **IMAGES),
        ClassBalanced(K, instance_counts=SKEWED),
        LDAM(K, instance_counts=SKEWED),
        CDT(K, instance_counts=SKEWED),
        LogitAdjustment(K, instance_counts=SKEWED),
        reweighted(SKEWED, 0.999),
        SigmoidFocal(K),
        EQL(K, **IMAGES),
        Federated(K, image_counts=SKEWED, num_sampled=2),
    ],
    ids=lambda loss: type(loss).__name__,
)
def test_default_setting_is_not_the_parent(loss):
    """So that the tests above can fail."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(40, K + 1, generator=generator)
    labels = torch.tensor([0, 1, K, K]).repeat(10)
    for parent in (SOFTMAX, SIGMOID):
        assert abs(loss(logits, labels) - parent(logits, labels)) > 1e-4
