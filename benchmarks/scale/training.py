"""The box predictor in a training step on one image: stock and with every loss, class-agnostic and class-specific."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.roi_heads.fast_rcnn import FastRCNNOutputLayers
from detectron2.modeling.roi_heads.mask_head import MaskRCNNConvUpsampleHead
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage
from torch import nn

from benchmarks.losses import peak_bytes
from benchmarks.scale.sizes import FEATURES, FOREGROUND, ROIS, Step, long_tail, seconds_in_turns
from lt_det.losses import LOSSES, build_loss
from lt_det.modeling import LongTailPredictor

ROUNDS = 2
TRANSFORM = Box2BoxTransform((10, 10, 5, 5))


def proposals(num_classes: int) -> list[Instances]:
    corners = torch.rand(ROIS, 2) * 700
    boxes = Boxes(torch.cat([corners, corners + 20 + torch.rand(ROIS, 2) * 200], dim=1))
    classes = torch.full((ROIS,), num_classes)
    classes[:FOREGROUND] = torch.randint(0, num_classes, (FOREGROUND,))
    return [Instances((800, 1333), proposal_boxes=boxes, gt_boxes=boxes, gt_classes=classes)]


def step_of(predictor: FastRCNNOutputLayers, features: torch.Tensor, data: list[Instances]) -> Step:
    def step() -> None:
        predictor.zero_grad(set_to_none=True)
        with EventStorage(1):  # iteration max_iter: the last phase, for a loss that has several
            sum(predictor.losses(predictor(features), data).values()).backward()  # type: ignore[union-attr]

    return step


def checkpoint_bytes(predictor: nn.Module) -> int:
    """Of a checkpoint of the predictor: its weights, and the momentum of the optimizer."""
    file = io.BytesIO()
    weights = predictor.state_dict()
    momentum = {name: torch.zeros_like(weight) for name, weight in predictor.named_parameters()}
    torch.save({"model": weights, "momentum": momentum}, file)
    return len(file.getvalue())


def measure(num_classes: int) -> Iterator[dict[str, Any]]:
    torch.manual_seed(0)
    features, data = torch.rand(ROIS, FEATURES), proposals(num_classes)
    shape, stats = ShapeSpec(channels=FEATURES), long_tail(num_classes)
    predictors: dict[str, FastRCNNOutputLayers] = {
        case: FastRCNNOutputLayers(
            shape, box2box_transform=TRANSFORM, num_classes=num_classes, cls_agnostic_bbox_reg=case == "stock"
        )
        for case in ("stock", "stock, a box for each class")
    }
    for name in sorted(LOSSES):
        loss = build_loss(name, stats, **({"alpha": 1.0} if name == "ib" else {}))
        predictors[name] = LongTailPredictor(
            shape, loss=loss, max_iter=1, box2box_transform=TRANSFORM, cls_agnostic_bbox_reg=True
        )
    steps = {name: step_of(predictor, features, data) for name, predictor in predictors.items()}
    times = seconds_in_turns(steps, ROUNDS)
    for name, predictor in predictors.items():
        predictor.zero_grad(set_to_none=True)
        loss = getattr(predictor, "loss", None)
        yield {
            "case": name,
            "seconds": times[name],
            "peak_bytes": peak_bytes(steps[name], "cpu"),
            "checkpoint_bytes": checkpoint_bytes(predictor),
            "state_bytes": 0 if loss is None else sum(value.nbytes for value in loss.state_dict().values()),
        }


def measure_masks(num_classes: int) -> Iterator[dict[str, Any]]:
    """The mask head's last layer on the foreground of one image; with a mask for each class on 4 RoIs, times 32."""
    for case, columns, rois in (("one mask", 1, FOREGROUND), ("a mask for each class", num_classes, 4)):
        head = MaskRCNNConvUpsampleHead(
            ShapeSpec(channels=256, width=14, height=14), num_classes=columns, conv_dims=[256]
        )
        features = torch.rand(rois, 256, 14, 14)

        def step(head: nn.Module = head, features: torch.Tensor = features) -> None:
            head.layers(features).sum().backward()

        with torch.no_grad():
            logits = head.layers(features).nbytes * FOREGROUND // rois
        yield {
            "case": case,
            "logits_bytes": logits,
            "peak_bytes": peak_bytes(step, "cpu") * FOREGROUND // rois,
            "measured_rois": rois,
        }
