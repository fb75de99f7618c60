"""Each loss against a slow loop written from its formula: value and gradient, over counts, labels and logits."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

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
    federated_loss,
)
from lt_det.losses.federated import sample_classes
from lt_det.statistics.class_stats import ClassStats


def worlds(max_classes=5):
    """(counts of 0 to a million, labels with background, seed)."""
    count = st.one_of(st.integers(0, 20), st.integers(0, 1_000_000))
    return st.integers(1, max_classes).flatmap(
        lambda k: st.tuples(
            st.lists(count, min_size=k, max_size=k),
            st.lists(st.integers(0, k), min_size=1, max_size=5),
            st.integers(0, 2**31),
        )
    )


def drawn(world, columns=None):
    """(K, counts of at least 1, labels, logits with a gradient, features)."""
    counts, labels, seed = world
    k = len(counts)
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(len(labels), columns or k + 1, generator=generator, dtype=torch.float64)
    features = torch.rand(len(labels), 4, generator=generator, dtype=torch.float64)
    return k, [max(n, 1) for n in counts], labels, logits.requires_grad_(), features


def check(loss, slow, labels, logits, features=None):
    """`slow(i)` is the loss of row i, divided by what `loss` divides by."""
    value = loss(logits, torch.tensor(labels), features)
    (gradient,) = torch.autograd.grad(value, logits)
    expected = sum(slow(i) for i in range(len(labels)))
    (expected_gradient,) = torch.autograd.grad(expected, logits)
    torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-9, atol=1e-12)


def nll(row, y):
    """-log softmax(row)_y, term by term."""
    return torch.log(sum(torch.exp(z) for z in row)) - row[y]


def bce(z, target):
    return -torch.log(torch.sigmoid(z if target else -z))


def mean_one(values):
    return [v * len(values) / math.fsum(values) for v in values]


def effective_number(counts, beta):
    """As the paper writes it; beta is moderate here, so that nothing cancels."""
    return [*mean_one([(1 - beta) / (1 - beta**n) for n in counts]), 1.0]


@given(worlds())
def test_softmax(world):
    k, _, y, z, _ = drawn(world)
    check(SoftmaxCrossEntropy(k), lambda i: nll(z[i], y[i]) / len(y), y, z)


@given(worlds(), st.floats(0, 0.9), st.booleans(), st.booleans())
def test_label_smoothing(world, smoothing, by_frequency, smooth_background):
    k, n, y, z, _ = drawn(world)
    loss = LabelSmoothing(
        k,
        instance_counts=n,
        smoothing=smoothing,
        prior="frequency" if by_frequency else "uniform",
        smooth_background=smooth_background,
    )
    prior = [(n[c] / sum(n)) * k / (k + 1) if by_frequency else 1 / (k + 1) for c in range(k)] + [1 / (k + 1)]

    def row(i):
        e = 0.0 if y[i] == k and not smooth_background else smoothing
        target = [(1 - e) * (c == y[i]) + e * prior[c] for c in range(k + 1)]
        return sum(target[c] * nll(z[i], c) for c in range(k + 1)) / len(y)

    check(loss, row, y, z)


@given(worlds(), st.floats(0, 1), st.booleans())
def test_seql_that_ignores_always(world, threshold, exempt):
    k, n, y, z, _ = drawn(world)
    loss = SoftmaxEQL(
        k, image_counts=n, num_images=50, frequency_threshold=threshold, gamma=1.0, exempt_background=exempt
    )

    def row(i):
        exempted = exempt and y[i] == k
        kept = [c for c in range(k + 1) if c in (y[i], k) or exempted or not n[c] / 50 < threshold]
        return (torch.log(sum(torch.exp(z[i, c]) for c in kept)) - z[i, y[i]]) / len(y)

    check(loss, row, y, z)


def test_seql_ignores_with_probability_gamma():
    """Over many equal rows of label 0 the fraction of tail columns without a gradient is gamma."""
    loss = SoftmaxEQL(3, image_counts=[100, 1, 1], num_images=100, frequency_threshold=0.5, gamma=0.7)
    torch.manual_seed(0)
    logits = torch.zeros(20_000, 4, requires_grad=True)
    loss(logits, torch.zeros(20_000, dtype=torch.long)).backward()
    ignored = (logits.grad == 0).double().mean(dim=0)
    assert ignored.tolist() == pytest.approx([0, 0.7, 0.7, 0], abs=0.01)
    both = ((logits.grad[:, 1:3] == 0).all(dim=1)).double().mean()
    assert both == pytest.approx(0.49, abs=0.01)  # drawn for each class by itself


@given(
    worlds(),
    st.floats(0.01, 0.9),
    st.sampled_from(["softmax", "sigmoid", "focal"]),
    st.floats(0, 2),
    st.booleans(),
    st.booleans(),
)
def test_class_balanced(world, beta, base, gamma, divide_by_weights, over_instances):
    k, n, y, z, _ = drawn(world)
    loss = ClassBalanced(
        k,
        instance_counts=n,
        base=base,
        beta=beta,
        gamma=gamma,
        mean_over="instances" if over_instances else "classes",
        divide_by_weights=divide_by_weights,
    )
    w = effective_number(n, beta)
    if over_instances:
        mean = sum(w[c] * n[c] for c in range(k)) / sum(n)
        w = [*(weight / mean for weight in w[:k]), 1.0]

    def row(i):
        if base == "softmax":
            return w[y[i]] * nll(z[i], y[i]) / (sum(w[c] for c in y) if divide_by_weights else len(y))
        terms = 0.0
        for c in range(k):
            right = torch.sigmoid(z[i, c] if c == y[i] else -z[i, c])
            terms = terms + (1 - right) ** (gamma if base == "focal" else 0) * bce(z[i, c], c == y[i])
        return w[y[i]] * terms / max(sum(c < k for c in y), 1)

    check(loss, row, y, z)


@given(worlds(), st.floats(0, 1), st.floats(0.5, 40))
def test_ldam(world, max_margin, scale):
    k, n, y, z, _ = drawn(world)
    z = torch.tanh(z.detach()).requires_grad_()  # cosines
    largest = max(count**-0.25 for count in n)
    margin = [max_margin * count**-0.25 / largest for count in n] + [0.0]

    def row(i):
        return nll([scale * (z[i, c] - margin[c] * (c == y[i])) for c in range(k + 1)], y[i]) / len(y)

    check(LDAM(k, instance_counts=n, max_margin=max_margin, scale=scale), row, y, z)


@given(worlds(), st.floats(0, 1), st.floats(0.5, 40), st.booleans())
def test_ldam_hinge(world, max_margin, scale, uniform):
    k, n, y, z, _ = drawn(world)
    largest = max(count**-0.25 for count in n)
    margin = [max_margin * (1 if uniform else count**-0.25 / largest) for count in n] + [0.0]

    def row(i):
        others = torch.stack([z[i, c] for c in range(k + 1) if c != y[i]])
        return scale * torch.relu(others.max() - z[i, y[i]] + margin[y[i]]) / len(y)

    loss = LDAM(k, instance_counts=n, max_margin=max_margin, scale=scale, hinge=True, uniform_margin=uniform)
    check(loss, row, y, z)


@given(worlds(), st.floats(0, 0.5))
def test_cdt(world, gamma):
    k, n, y, z, _ = drawn(world)
    a = [(max(n) / count) ** gamma for count in n] + [1.0]
    check(
        CDT(k, instance_counts=n, gamma=gamma),
        lambda i: nll([z[i, c] / a[c] for c in range(k + 1)], y[i]) / len(y),
        y,
        z,
    )


@given(worlds(), st.floats(0, 2))
def test_logit_adjustment(world, tau):
    k, n, y, z, _ = drawn(world)
    delta = [math.log(k * count / sum(n)) for count in n] + [0.0]
    check(
        LogitAdjustment(k, instance_counts=n, tau=tau),
        lambda i: nll([z[i, c] + tau * delta[c] for c in range(k + 1)], y[i]) / len(y),
        y,
        z,
    )


@given(worlds(), st.one_of(st.none(), st.floats(0, 2)), st.booleans())
def test_influence_balanced(world, focal_gamma, detach_factor):
    k, n, y, z, h = drawn(world)
    loss = InfluenceBalanced(
        k, instance_counts=n, alpha=2.5, epsilon=0.01, start=0.5, focal_gamma=focal_gamma, detach_factor=detach_factor
    )
    weight = [*mean_one([1 / count for count in n]), 1.0]

    def row(i):
        p = [torch.exp(-nll(z[i], c)) for c in range(k + 1)]
        error = sum((p[c] - float(c == y[i])).abs() for c in range(k + 1))
        factor = 2.5 / (error * sum(h[i]) + 0.01)
        c = weight[y[i]] * nll(z[i], y[i])
        if focal_gamma is not None:
            c = (1 - torch.exp(-c)) ** focal_gamma * c
        return c * (factor.detach() if detach_factor else factor) / len(y)

    loss.progress = 0.6
    check(loss, row, y, z, h)
    loss.progress = 0.4
    check(loss, lambda i: nll(z[i], y[i]) / len(y), y, z, h)


@given(worlds(), st.floats(0, 1.5), st.floats(0, 3))
def test_seesaw(world, p, q):
    k, _, y, z, _ = drawn(world, columns=len(world[0]) + 2)
    loss = Seesaw(k, p=p, q=q)
    before = torch.arange(k, dtype=torch.float32)
    loss.seen.copy_(before)
    seen = [max(before[c].item() + y.count(c), 1) for c in range(k)]

    def row(i):
        objectness = nll(z[i, k:], 0 if y[i] < k else 1)
        if y[i] == k:
            return objectness / len(y)
        own = y[i]
        sigma = [torch.exp(-nll(z[i, :k], c)).detach() for c in range(k)]
        factor = [
            min(1, (seen[c] / seen[own]) ** p) * max(1, (sigma[c] / sigma[own].clamp(min=0.01)) ** q) for c in range(k)
        ]
        factor[own] = 1
        adjusted = [z[i, c] + math.log(factor[c]) for c in range(k)]
        return (nll(adjusted, own) + objectness) / len(y)

    expected_after = [before[c].item() + y.count(c) for c in range(k)]
    value = loss(z, torch.tensor(y))
    assert loss.seen.tolist() == expected_after
    (gradient,) = torch.autograd.grad(value, z)
    expected = sum(row(i) for i in range(len(y)))
    (expected_gradient,) = torch.autograd.grad(expected, z)
    # The counts, and their logarithms, are float32 as all state is.
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-5, atol=1e-7)


@given(worlds())
def test_sigmoid(world):
    k, _, y, z, _ = drawn(world)
    check(SigmoidCrossEntropy(k), lambda i: sum(bce(z[i, c], c == y[i]) for c in range(k)) / len(y), y, z)


@given(worlds(), st.one_of(st.none(), st.floats(0, 1)), st.floats(0, 3), st.booleans())
def test_focal(world, alpha, gamma, by_foreground):
    k, _, y, z, _ = drawn(world)
    divisor = max(sum(c < k for c in y), 1) if by_foreground else len(y)

    def row(i):
        terms = 0.0
        for c in range(k):
            right = torch.sigmoid(z[i, c] if c == y[i] else -z[i, c])
            weight = 1 if alpha is None else alpha if c == y[i] else 1 - alpha
            terms = terms + weight * (1 - right) ** gamma * bce(z[i, c], c == y[i])
        return terms / divisor

    loss = SigmoidFocal(k, alpha=alpha, gamma=gamma, divide_by="foreground" if by_foreground else "rois")
    check(loss, row, y, z)


@given(worlds(), st.floats(0, 1), st.booleans())
def test_eql(world, threshold, exempt):
    k, n, y, z, _ = drawn(world)

    def row(i):
        ignored = [(y[i] < k or not exempt) and c != y[i] and n[c] / 50 < threshold for c in range(k)]
        return sum(bce(z[i, c], c == y[i]) for c in range(k) if not ignored[c]) / len(y) + 0 * z[i].sum()

    loss = EQL(k, image_counts=n, num_images=50, frequency_threshold=threshold, exempt_background=exempt)
    check(loss, row, y, z)


@given(worlds(), st.floats(0, 20), st.floats(0, 2), st.floats(0, 5))
@settings(max_examples=50)
def test_eqlv2_over_three_steps(world, gamma, mu, alpha):
    k, _, y, z, _ = drawn(world)
    loss = EQLv2(k, gamma=gamma, mu=mu, alpha=alpha).double()
    positive, negative = [0.0] * k, [0.0] * k
    for _ in range(3):
        ratio = [positive[c] / (negative[c] + 1e-10) if positive[c] + negative[c] > 0 else 100.0 for c in range(k)]
        q = [1 / (1 + math.exp(-gamma * (r - mu))) if gamma * (r - mu) > -700 else 0.0 for r in ratio]
        weight = [
            [(1 + alpha * (1 - q[c]) if c == y[i] else q[c]) if c < k else 1.0 for c in range(k + 1)]
            for i in range(len(y))
        ]
        check(
            loss,
            lambda i, w=weight: sum(w[i][c] * bce(z[i, c], c == y[i]) for c in range(k + 1)) / len(y),
            y,
            z,
        )
        for i in range(len(y)):
            for c in range(k):
                slope = abs(torch.sigmoid(z[i, c]).item() - (c == y[i])) * weight[i][c]
                (positive if c == y[i] else negative)[c] += slope
        torch.testing.assert_close(loss.positive_gradient.tolist(), positive)
        torch.testing.assert_close(loss.negative_gradient.tolist(), negative)


@given(worlds(), st.integers(0, 31))
def test_federated_on_given_classes(world, bits):
    k, _, y, z, _ = drawn(world)
    sampled = [c in y or bool(bits >> c & 1) for c in range(k)]
    check(
        lambda logits, labels, features: federated_loss(logits[:, :k], labels, torch.tensor(sampled)),
        lambda i: sum(bce(z[i, c], c == y[i]) for c in range(k) if sampled[c]) / len(y) + 0 * z[i].sum(),
        y,
        z,
    )


@pytest.mark.parametrize("power", [0.0, 0.5])
def test_federated_never_draws_a_class_without_images(power):
    counts = np.asarray([5, 0, 7, 0])
    stats = ClassStats(("a", "b", "c", "d"), counts, counts, 12, "here")
    loss = Federated.from_stats(stats, num_sampled=4, frequency_power=power)
    for _ in range(20):
        assert sample_classes(torch.tensor([0]), loss.class_weight, 4).tolist() == [True, False, True, False]


@pytest.mark.parametrize("mean_over", ["classes", "instances"])
def test_ib_weights_have_mean_one(mean_over):
    counts = torch.tensor([100.0, 10.0, 1.0], dtype=torch.float64)
    weight = InfluenceBalanced(3, instance_counts=counts, mean_over=mean_over).class_weight[:3]
    shares = counts if mean_over == "instances" else torch.ones(3, dtype=torch.float64)
    torch.testing.assert_close((weight * shares).sum(), shares.sum())
    torch.testing.assert_close(weight * counts, (weight * counts)[:1].expand(3))


@given(worlds(), st.floats(0.01, 0.9))
def test_deferred_reweighting(world, beta):
    k, n, y, z, _ = drawn(world)
    loss = ClassReweighting(SoftmaxCrossEntropy(k), effective_number_weights(n, beta), start=0.5)
    loss.progress = 0.5
    w = effective_number(n, beta)
    check(loss, lambda i: w[y[i]] * nll(z[i], y[i]) / len(y), y, z)
