import torch
import torch.nn.functional as F

from lt_det.layers import CosineClassifier


def test_logits_are_scaled_cosines():
    layer = CosineClassifier(5, 3, scale=20.0)
    features = torch.randn(4, 5)
    expected = torch.stack([F.cosine_similarity(features, w.expand_as(features)) for w in layer.weight], dim=1)
    torch.testing.assert_close(layer(features), 20.0 * expected)


def test_lengths_of_weights_and_features_have_no_effect():
    layer = CosineClassifier(5, 3)
    features = torch.randn(4, 5)
    before = layer(features)
    with torch.no_grad():
        layer.weight.mul_(torch.tensor([[0.1], [1.0], [10.0]]))
    torch.testing.assert_close(layer(features * 7), before)


def test_zero_features_and_half_precision_are_finite():
    layer = CosineClassifier(5, 3)
    features = torch.zeros(2, 5, dtype=torch.bfloat16, requires_grad=True)
    layer(features).sum().backward()
    assert torch.isfinite(features.grad).all()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(features).dtype == torch.float32
