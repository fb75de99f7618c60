"""Detectron2's three box heads with a `LongTailPredictor`. Mask and keypoint branches are unchanged."""

from __future__ import annotations

from typing import Any

import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling.roi_heads import ROI_HEADS_REGISTRY, CascadeROIHeads, Res5ROIHeads, StandardROIHeads
from detectron2.modeling.roi_heads.fast_rcnn import FastRCNNOutputLayers

from lt_det.compat.detectron2 import detections_of_cascades_by
from lt_det.modeling.detections import select_detections
from lt_det.modeling.ground_truth import CheckedGroundTruth
from lt_det.modeling.predictor import LongTailPredictor

STOCK_HEADS = {  # the heads of Detectron2 that these are made from
    "LongTailROIHeads": "StandardROIHeads",
    "LongTailCascadeROIHeads": "CascadeROIHeads",
    "LongTailRes5ROIHeads": "Res5ROIHeads",
}


@ROI_HEADS_REGISTRY.register()
class LongTailROIHeads(CheckedGroundTruth, StandardROIHeads):
    """`StandardROIHeads` (FPN) with a long-tail loss."""

    @classmethod
    def _init_box_head(cls, cfg: Any, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        ret = super()._init_box_head(cfg, input_shape)
        ret["box_predictor"] = _replace(ret["box_predictor"], cfg, ret["box_head"].output_shape)
        return ret


@ROI_HEADS_REGISTRY.register()
class LongTailCascadeROIHeads(CheckedGroundTruth, CascadeROIHeads):
    """`CascadeROIHeads` with a long-tail loss, and one loss state per stage."""

    @classmethod
    def _init_box_head(cls, cfg: Any, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        ret = super()._init_box_head(cfg, input_shape)
        ret["box_predictors"] = [
            _replace(stock, cfg, head.output_shape)
            for stock, head in zip(ret["box_predictors"], ret["box_heads"], strict=True)
        ]
        return ret

    def _forward_box(self, *args: Any) -> Any:
        with detections_of_cascades_by(select_detections):
            return super()._forward_box(*args)


@ROI_HEADS_REGISTRY.register()
class LongTailRes5ROIHeads(CheckedGroundTruth, Res5ROIHeads):
    """`Res5ROIHeads` (C4) with a long-tail loss."""

    @classmethod
    def from_config(cls, cfg: Any, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        ret = super().from_config(cfg, input_shape)
        channels = ret["box_predictor"].cls_score.in_features
        ret["box_predictor"] = _replace(ret["box_predictor"], cfg, ShapeSpec(channels=channels, height=1, width=1))
        return ret


def _replace(stock: FastRCNNOutputLayers, cfg: Any, input_shape: ShapeSpec) -> LongTailPredictor:
    """A `LongTailPredictor` with the stock predictor's weights and box transform, without consuming random numbers.

    A seed then gives the same initial weights as in stock Detectron2, so that runs differ by their loss only.
    """
    with torch.random.fork_rng(devices=[]):
        predictor = LongTailPredictor(cfg, input_shape, box2box_transform=stock.box2box_transform)
    predictor.training_sets = tuple(cfg.DATASETS.TRAIN)
    predictor.bbox_pred.load_state_dict(stock.bbox_pred.state_dict())
    if predictor.cls_score.weight.shape == stock.cls_score.weight.shape:
        with torch.no_grad():
            predictor.cls_score.weight.copy_(stock.cls_score.weight)
    return predictor
