import pytest
import torch
import torch.nn.functional as F

from lt_det.layers import ScaledLinear


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return ScaledLinear(5, 3)


def test_starts_as_the_linear_layer_of_its_weights(layer):
    features = torch.randn(4, 5)
    assert torch.equal(layer(features), F.linear(features, layer.weight, layer.bias))
    assert set(layer.state_dict()) == {"weight", "bias", "scale"}


def test_each_class_has_its_own_scale_and_the_bias_is_not_scaled(layer):
    features = torch.randn(4, 5)
    before = layer(features) - layer.bias
    with torch.no_grad():
        layer.scale.copy_(torch.tensor([0.5, 1.0, 3.0]))
    torch.testing.assert_close(layer(features), before * torch.tensor([0.5, 1.0, 3.0]) + layer.bias)


def test_scales_can_be_folded_into_the_weights(layer):
    features = torch.randn(4, 5)
    with torch.no_grad():
        layer.scale.copy_(torch.tensor([0.5, 1.0, 3.0]))
    assert torch.equal(layer(features), F.linear(features, layer.scale[:, None] * layer.weight, layer.bias))


def test_gradient_of_the_scales(layer):
    layer.double()
    features = torch.randn(4, 5, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda scale: torch.func.functional_call(layer, {"scale": scale}, features),
        torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64, requires_grad=True),
    )
