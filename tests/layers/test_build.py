import pytest
import torch
from torch import nn

from lt_det.errors import LtDetError
from lt_det.layers import CosineClassifier, ScaledLinear, build_classifier
from lt_det.losses import LDAMLoss, SeesawLoss, SigmoidCrossEntropyLoss, SoftmaxCrossEntropyLoss


@pytest.mark.parametrize(
    ("loss", "kind", "layer"),
    [
        (SoftmaxCrossEntropyLoss(3), "auto", nn.Linear),
        (SoftmaxCrossEntropyLoss(3, background=False), "cosine", CosineClassifier),
        (SoftmaxCrossEntropyLoss(3), "scaled", ScaledLinear),
        (SigmoidCrossEntropyLoss(3), "auto", nn.Linear),
        (SeesawLoss(3), "auto", CosineClassifier),
        (SeesawLoss(3), "linear", nn.Linear),
    ],
)
def test_layer_and_starting_point(loss, kind, layer):
    torch.manual_seed(0)
    classifier = build_classifier(200, loss, kind)
    assert type(classifier) is layer
    assert classifier.weight.shape == (loss.num_logits, 200)
    assert classifier.weight.std().item() == pytest.approx(0.01, rel=0.2)
    bias = loss.initial_bias()
    assert torch.equal(classifier.bias, torch.zeros(loss.num_logits) if bias is None else bias)


def test_scale_of_the_cosines():
    assert build_classifier(5, SeesawLoss(3)).scale == CosineClassifier(1, 1).scale
    assert build_classifier(5, SeesawLoss(3), cosine_scale=16.0).scale == 16
    classifier = build_classifier(5, LDAMLoss(3))  # which scales them itself
    assert (classifier.scale, classifier.bias) == (1.0, None)


@pytest.mark.parametrize(
    ("loss", "kind", "scale", "message"),
    [
        (SeesawLoss(3), "round", None, "CLASSIFIER is 'round'"),
        (SeesawLoss(3), "linear", 16.0, "COSINE_SCALE is 16.0, .* linear"),
        (LDAMLoss(3), "auto", 16.0, r"COSINE_SCALE is 16.0, .*LDAM\.SCALE"),
        (SeesawLoss(3), "auto", -1.0, "COSINE_SCALE .* -1.0"),
    ],
)
def test_what_has_no_effect_is_refused(loss, kind, scale, message):
    with pytest.raises(LtDetError, match=message):
        build_classifier(5, loss, kind, scale)
