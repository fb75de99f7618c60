"""A backbone with 0.3 million parameters that can be trained from scratch on a CPU; mini_lvis's configs use it."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from detectron2.layers import Conv2d, ShapeSpec, get_norm
from detectron2.modeling import BACKBONE_REGISTRY, Backbone
from detectron2.modeling.backbone.resnet import BasicBlock
from fvcore.nn.weight_init import c2_msra_fill, c2_xavier_fill
from torch import Tensor, nn

# Batch normalization that updates its statistics: with frozen ones, Detectron2's default, random weights diverge.
_NORM = "BN"
_STEM = (
    24  # channels; not those of the first stage, because Detectron2's block strides its shortcut only if they differ
)
_STAGES = (32, 64, 128)  # channels; strides 4, 8, 16
_OUT_CHANNELS = 64


class MiniBackbone(Backbone):
    """A stem and three residual stages, whose outputs are summed into one map of stride 8, called "p3"."""

    def __init__(self, in_channels: int = 3) -> None:
        super().__init__()
        width = _STEM
        self.stem = Conv2d(
            in_channels,
            width,
            3,
            stride=2,
            padding=1,
            bias=False,
            norm=get_norm(_NORM, width),
            activation=F.relu,
        )
        c2_msra_fill(self.stem)
        self.stages = nn.ModuleList()
        self.laterals = nn.ModuleList()
        for channels in _STAGES:
            self.stages.append(BasicBlock(width, channels, stride=2, norm=_NORM))
            lateral = Conv2d(channels, _OUT_CHANNELS, 1)
            c2_xavier_fill(lateral)
            self.laterals.append(lateral)
            width = channels
        self.output = Conv2d(_OUT_CHANNELS, _OUT_CHANNELS, 3, padding=1)
        c2_xavier_fill(self.output)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Images (N, 3, H, W), with H and W multiples of 16, to {"p3": (N, 64, H / 8, W / 8)}."""
        x = self.stem(x)
        levels = []
        for stage, lateral in zip(self.stages, self.laterals, strict=True):
            x = stage(x)
            levels.append(lateral(x))
        fine, middle, coarse = levels
        merged = F.max_pool2d(fine, 2) + middle + F.interpolate(coarse, scale_factor=2.0, mode="nearest")
        return {"p3": self.output(merged)}

    @property
    def size_divisibility(self) -> int:
        return 16

    def output_shape(self) -> dict[str, ShapeSpec]:
        return {"p3": ShapeSpec(channels=_OUT_CHANNELS, stride=8)}


@BACKBONE_REGISTRY.register()
def build_mini_backbone(cfg: Any, input_shape: ShapeSpec) -> MiniBackbone:
    """Build a `MiniBackbone` for ``MODEL.BACKBONE.NAME``."""
    return MiniBackbone(input_shape.channels)
