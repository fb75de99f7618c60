"""Box predictor, ROI heads and small backbones for Detectron2; importing this registers heads and backbones."""

import lt_det.compat.quiet_import  # noqa: F401 - before Detectron2
from lt_det.modeling.backbones.mini import MiniBackbone, build_mini_backbone
from lt_det.modeling.backbones.timm_fpn import TimmBackbone, build_timm_fpn_backbone
from lt_det.modeling.backbones.timm_weights import TimmHandler
from lt_det.modeling.loss_builder import build_loss_for_data
from lt_det.modeling.predictor import LongTailPredictor
from lt_det.modeling.roi_heads import LongTailCascadeROIHeads, LongTailRes5ROIHeads, LongTailROIHeads

__all__ = [
    "LongTailCascadeROIHeads",
    "LongTailPredictor",
    "LongTailROIHeads",
    "LongTailRes5ROIHeads",
    "MiniBackbone",
    "TimmBackbone",
    "TimmHandler",
    "build_loss_for_data",
    "build_mini_backbone",
    "build_timm_fpn_backbone",
]
