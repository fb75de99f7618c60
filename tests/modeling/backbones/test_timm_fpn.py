"""Backbones of timm: their maps, what is frozen, and what happens if one cannot be had."""

import pytest
import torch
from detectron2.modeling import build_backbone
from torch import nn

from lt_det.errors import LtDetError
from lt_det.modeling import TimmBackbone
from tests.helpers.timm_backbones import LITE, timm_config

pytest.importorskip("timm")


def trained(network):
    return {name for name, parameter in network.named_parameters() if parameter.requires_grad}


class TestFeaturePyramid:
    def test_the_maps_have_the_strides_of_their_names(self):
        pyramid = build_backbone(timm_config())
        maps = pyramid(torch.rand(1, 3, 64, 96))
        assert {name: tuple(value.shape) for name, value in maps.items()} == {
            "p3": (1, 32, 8, 12),
            "p4": (1, 32, 4, 6),
            "p5": (1, 32, 2, 3),
            "p6": (1, 32, 1, 2),
        }
        assert {name: shape.stride for name, shape in pyramid.output_shape().items()} == {
            "p3": 8,
            "p4": 16,
            "p5": 32,
            "p6": 64,
        }

    @pytest.mark.parametrize(
        "name", ["resnet18", "convnext_atto", "swin_tiny_patch4_window7_224", "regnety_002", "ghostnetv2_100"]
    )
    def test_other_families(self, name):
        backbone = TimmBackbone(name, ["res2", "res3", "res4", "res5"], freeze_at=2)
        maps = backbone(torch.rand(1, 3, 64, 96))
        for feature, shape in backbone.output_shape().items():
            assert maps[feature].shape == (1, shape.channels, 64 // shape.stride, 96 // shape.stride)
        assert 0 < len(trained(backbone)) < len(list(backbone.parameters()))

    @pytest.mark.parametrize("name", [LITE, "resnet18", "convnext_atto"])
    def test_every_trained_parameter_gets_a_gradient_without_the_last_stage(self, name):
        backbone = TimmBackbone(name, ["res3", "res4"])
        sum(value.sum() for value in backbone(torch.rand(2, 3, 64, 64)).values()).backward()
        assert trained(backbone) == {key for key, value in backbone.named_parameters() if value.grad is not None}

    def test_in_features_in_another_order(self):
        backbone = TimmBackbone(LITE, ["res5", "res3"])
        assert {name: value.shape[1] for name, value in backbone(torch.rand(1, 3, 64, 64)).items()} == {
            "res3": 40,
            "res5": 320,
        }


class TestFreezing:
    @pytest.mark.parametrize(
        ("stage", "last", "first_trained"),
        [(1, "blocks.0", "blocks.1"), (2, "blocks.1", "blocks.2"), (4, "blocks.4", "blocks.5")],
    )
    def test_nothing_up_to_the_stage_is_trained(self, stage, last, first_trained):
        names = trained(TimmBackbone(LITE, freeze_at=stage).body)
        assert not any(name.startswith(("conv_stem", f"{last}.")) for name in names)
        assert any(name.startswith(f"{first_trained}.") for name in names)

    def test_the_stem_of_a_network_without_a_map_of_stride_2(self):
        backbone = TimmBackbone("convnext_atto", ["res2", "res3"], freeze_at=1)
        assert {name.split(".")[0] for name in trained(backbone.body)} == {"stages_0", "stages_1"}

    def test_frozen_norms_do_not_move(self):
        backbone = TimmBackbone(LITE).train()
        before = {name: value.clone() for name, value in backbone.state_dict().items()}
        backbone(torch.rand(2, 3, 64, 64))
        assert not any(isinstance(module, nn.BatchNorm2d) for module in backbone.modules())
        assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())

    def test_norms_of_frozen_stages_do_not_move_either(self):
        backbone = TimmBackbone(LITE, norm="BN", freeze_at=2).train()
        before = {name: value.clone() for name, value in backbone.state_dict().items()}
        backbone(torch.rand(2, 3, 64, 64))
        moved = {name for name, value in backbone.state_dict().items() if not torch.equal(value, before[name])}
        assert "body.blocks.2.0.bn1.running_mean" in moved
        assert not any(name.startswith(("body.bn1.", "body.blocks.0.", "body.blocks.1.")) for name in moved)


class TestBadInput:
    @pytest.mark.parametrize(
        ("overrides", "message"),
        [
            (["MODEL.TIMM.NAME", ""], "MODEL.TIMM.NAME is ''"),
            (["MODEL.TIMM.NAME", "tf_eficientnet_lite0"], "similar names: tf_efficientnet_lite0"),
            (["MODEL.TIMM.NAME", "vit_tiny_patch16_224"], "MODEL.TIMM.NAME vit_tiny_patch16_224 .* 16"),
            (["MODEL.TIMM.NORM", "GN"], "MODEL.TIMM.NORM is 'GN'"),
            (["MODEL.FPN.IN_FEATURES", "['p3']"], "MODEL.FPN.IN_FEATURES is .*p3"),
            (["MODEL.BACKBONE.FREEZE_AT", "6"], "FREEZE_AT is 6"),
            (["MODEL.BACKBONE.FREEZE_AT", "-1"], "FREEZE_AT is -1"),
        ],
    )
    def test_one_sentence(self, overrides, message):
        with pytest.raises(LtDetError, match=message):
            build_backbone(timm_config(*overrides))

    def test_without_timm(self, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, "timm", None)
        with pytest.raises(LtDetError, match=r"pip install 'lt_det\[small\]'"):
            build_backbone(timm_config())

    def test_a_network_that_cannot_be_frozen_by_stages(self):
        with pytest.raises(LtDetError, match="hrnet_w18_small cannot be frozen by stages"):
            TimmBackbone("hrnet_w18_small", freeze_at=2)
