"""tau-normalization, NorCal and post-hoc logit adjustment against loops, and what they do to each loss's scores."""

import math

import pytest
import torch
from torch import nn

from lt_det.errors import LtDetError
from lt_det.layers import CosineClassifier, ScaledLinear
from lt_det.losses import CDT, LDAM, LOSSES, Seesaw, SoftmaxCrossEntropy
from lt_det.losses.sigmoid import SigmoidFamily
from lt_det.losses.softmax import SoftmaxFamily
from lt_det.modeling.post_hoc_adjustment import METHODS, adjusted

COUNTS = [1, 3, 40, 250, 2000]
K, D = len(COUNTS), 8

every_method = pytest.mark.parametrize("method", METHODS)


def linear(columns=K + 1):
    """A classifier whose first class has zero weights, and whose other norms differ as after training."""
    torch.manual_seed(0)
    layer = nn.Linear(D, columns)
    with torch.no_grad():
        layer.weight *= torch.linspace(0.5, 3, columns).unsqueeze(1)
        layer.weight[0] = 0
    return layer


def apply(layer, loss, method, value, counts=COUNTS):
    """A copy of the classifier after post-hoc adjustment."""
    state = adjusted(layer, loss, method, value, torch.tensor(counts))
    has_bias = layer.bias is not None
    other = (
        CosineClassifier(D, len(layer.weight), layer.scale, has_bias)
        if isinstance(layer, CosineClassifier)
        else nn.Linear(D, len(layer.weight), has_bias)
    )
    other.load_state_dict(state)
    return other


def built(name, **options):
    given = {"image_counts": COUNTS, "instance_counts": COUNTS, "num_images": 3000}
    return LOSSES[name](K, **{key: given[key] for key in LOSSES[name].statistics}, **options)


@pytest.mark.parametrize("tau", [0.3, 1.0, 2.0])
def test_tau_norm_is_the_loop(tau):
    layer = linear()
    after = apply(layer, SoftmaxCrossEntropy(K), "tau_norm", tau)
    norms = [math.sqrt(sum(w * w for w in row)) for row in layer.weight.tolist()]
    mean = sum([sum(norms[1:K]) / K, *norms[1:K]]) / K  # the zero row counts as an average one
    for k in range(1, K):
        expected = layer.weight[k] * (mean / norms[k]) ** tau
        torch.testing.assert_close(after.weight[k], expected)
    assert torch.equal(after.weight[0], torch.zeros(D))
    assert torch.equal(after.weight[K], layer.weight[K])
    assert torch.equal(after.bias, layer.bias)


def test_tau_norm_of_one_leaves_equal_norms_on_the_scale_they_had():
    layer = linear()
    after = apply(layer, SoftmaxCrossEntropy(K), "tau_norm", 1.0).weight[1:K].norm(dim=1)
    before = layer.weight[1:K].norm(dim=1)
    torch.testing.assert_close(after, after[:1].expand(K - 1))
    assert before.min() < after[0] < before.max()


@pytest.mark.parametrize("gamma", [0.4, 1.0])
def test_norcal_divides_exponentials_by_powers_of_counts(gamma):
    layer, features = linear(), torch.randn(6, D)
    scores = SoftmaxCrossEntropy(K).scores(apply(layer, SoftmaxCrossEntropy(K), "norcal", gamma)(features))
    for z, found in zip(layer(features).tolist(), scores, strict=True):
        parts = [*(math.exp(z[k]) / COUNTS[k] ** gamma for k in range(K)), math.exp(z[K])]
        torch.testing.assert_close(found, torch.tensor([part / sum(parts) for part in parts]))


@pytest.mark.parametrize("tau", [0.4, 1.0])
def test_logit_adjustment_is_equation_9(tau):
    layer, features = linear(), torch.randn(6, D)
    scores = SoftmaxCrossEntropy(K).scores(apply(layer, SoftmaxCrossEntropy(K), "logit_adjustment", tau)(features))
    prior = [count / sum(COUNTS) for count in COUNTS]
    for z, found in zip(layer(features).tolist(), scores, strict=True):
        shifted = [z[k] - tau * (math.log(prior[k]) + math.log(K)) for k in range(K)] + [z[K]]
        total = sum(map(math.exp, shifted))
        torch.testing.assert_close(found, torch.tensor([math.exp(a) / total for a in shifted]))


def test_classes_of_equal_counts_need_no_adjustment():
    layer = linear()
    after = apply(layer, SoftmaxCrossEntropy(K), "logit_adjustment", 1.5, [7] * K)
    assert torch.equal(after.bias, layer.bias)
    after = apply(layer, SoftmaxCrossEntropy(K), "norcal", 1.0, [7] * K)
    shift = layer.bias - after.bias
    torch.testing.assert_close(shift, torch.tensor([math.log(7)] * K + [0.0]))  # against background all alike


@every_method
@pytest.mark.parametrize("name", sorted(LOSSES))
def test_zero_changes_no_bit_of_any_classifier(method, name):
    layer = linear(built(name).num_logits)
    state = adjusted(layer, built(name), method, 0.0, torch.tensor(COUNTS))
    assert state.keys() == layer.state_dict().keys()
    for key, value in layer.state_dict().items():
        assert torch.equal(state[key], value)
        assert state[key].dtype == value.dtype


def odds(loss, scores):
    """(N, K) odds of a class against its alternative under the loss."""
    scores = scores.double()
    if isinstance(loss, Seesaw):
        return scores[:, :K] / scores[:, :1]  # the first class, whose count is 1
    background = scores[:, K:]
    if not isinstance(getattr(loss, "parent", loss), SigmoidFamily):
        return scores[:, :K] / background
    p = scores[:, :K] / (1 - background)  # EQLv2 multiplies by it
    return p / (1 - p)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *((name, {}) for name in sorted(LOSSES)),
        ("cdt", {"test_temperature": True}),
        ("class_balanced", {"base": "sigmoid"}),
    ],
)
def test_a_shift_divides_the_odds_under_every_loss(name, options):
    """By N^gamma, however the loss turns logits into scores; background scores stay."""
    loss = built(name, **options)
    layer, features, gamma = linear(loss.num_logits), torch.randn(6, D), 0.5
    before = loss.scores(layer(features))
    after = loss.scores(apply(layer, loss, "norcal", gamma)(features))
    expected = odds(loss, before) / torch.tensor(COUNTS, dtype=torch.float64) ** gamma
    torch.testing.assert_close(odds(loss, after), expected, rtol=1e-4, atol=0)
    if not isinstance(loss, SoftmaxFamily) and name != "class_balanced":
        assert torch.equal(after[:, K], before[:, K])


@pytest.mark.parametrize("method", ["norcal", "logit_adjustment"])
def test_cosine_classifiers_with_a_bias_are_shifted(method):
    layer = CosineClassifier(D, K + 2)
    after = apply(layer, Seesaw(K), method, 1.0)
    assert torch.equal(after.weight, layer.weight)
    assert (after.bias[:K].diff() < 0).all()
    assert torch.equal(after.bias[K:], layer.bias[K:])


def test_an_undefined_method_is_refused():
    with pytest.raises(LtDetError, match="tau_norm is not defined for the cosine classifier of SeesawLoss"):
        adjusted(CosineClassifier(D, K + 2), Seesaw(K), "tau_norm", 1.0)
    with pytest.raises(LtDetError, match=r"tau_norm .*lws .*choose norcal"):
        adjusted(ScaledLinear(D, K + 1), SoftmaxCrossEntropy(K), "tau_norm", 1.0)
    loss = LDAM(K, instance_counts=COUNTS)
    for method in ("norcal", "logit_adjustment"):
        with pytest.raises(LtDetError, match=f"{method} .* LDAMLoss has none"):
            adjusted(CosineClassifier(D, K + 1, bias=False), loss, method, 1.0, torch.tensor(COUNTS))


def test_the_classifier_is_copied():
    layer = linear()
    before = {key: value.clone() for key, value in layer.state_dict().items()}
    for method in METHODS:
        adjusted(layer, SoftmaxCrossEntropy(K), method, 1.0, torch.tensor(COUNTS))
    assert all(torch.equal(value, before[key]) for key, value in layer.state_dict().items())
    assert CDT(K, instance_counts=COUNTS).score_scale == 1.0
