"""Record what a detector's own box predictors get, in training mode and at test time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from detectron2.modeling.roi_heads.fast_rcnn import FastRCNNOutputLayers
from detectron2.structures import Boxes, Instances
from torch import Tensor, nn

from lt_det.errors import LtDetError
from lt_det.modeling import LongTailPredictor


class Recorder(nn.Module):
    """Takes the place of a box predictor, which it calls, and keeps what it gets.

    Losses are not computed, and detections are not selected: both take time, and neither is needed.

    Attributes:
        features: (R, D) input of the classifier and of the box regressor, from the last forward pass.
        proposals: of each image, what the head passed with the predictions; in training mode with their targets.
        boxes: of each image, what the box regressor made of the proposals, where a cascade has asked for it.
    """

    def __init__(self, predictor: Any) -> None:
        super().__init__()
        self.predictor = predictor
        self.features = torch.empty(0)
        self.proposals: list[Instances] = []
        self.boxes: list[Tensor] = []
        self.test_score_thresh = math.inf  # a cascade selects detections itself; no score is above this

    def __getattr__(self, name: str) -> Any:
        """Other attributes are the predictor's."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("predictor"), name)

    def forward(self, x: Tensor) -> Any:
        self.features = torch.flatten(x, start_dim=1)
        return self.predictor(x)

    def losses(self, predictions: Any, proposals: list[Instances]) -> dict[str, Tensor]:
        self.proposals = proposals
        return {}

    def predict_boxes(self, predictions: Any, proposals: list[Instances]) -> Any:
        self.proposals = proposals
        self.boxes = list(self.predictor.predict_boxes(predictions, proposals))
        return self.boxes

    def predict_probs(self, predictions: Any, proposals: list[Instances]) -> Any:
        return self.predictor.predict_probs(predictions, proposals)

    def inference(self, predictions: Any, proposals: list[Instances]) -> tuple[list[Instances], list[Tensor]]:
        """No detections."""
        self.proposals = proposals
        none = self.features.new_empty(0)
        classes = none.to(torch.int64)
        empty = [
            Instances(p.image_size, pred_boxes=Boxes(none.reshape(0, 4)), scores=none, pred_classes=classes)
            for p in proposals
        ]
        return empty, [classes for _ in proposals]


@contextmanager
def recording(roi_heads: Any) -> Iterator[list[Recorder]]:
    """Within, each box predictor of `roi_heads` is recorded, and masks and keypoints are not predicted.

    Args:
        roi_heads: with one box predictor, or one for each stage.

    Yields:
        One recorder for each stage.

    Raises:
        LtDetError: there is no box predictor, or one is neither Detectron2's nor lt_det's.
    """
    original = getattr(roi_heads, "box_predictor", None)
    if original is None:
        raise LtDetError(
            f"The detector has no box predictor whose features could be recorded ({type(roi_heads).__name__}); a "
            "bake-off and SECOND_STAGE.METHOD meta need a two-stage detector with Standard, Cascade or Res5 (C4) ROI "
            "heads."
        )
    predictors = list(original) if isinstance(original, nn.ModuleList) else [original]
    for predictor in predictors:
        # Another class may use its input in another way, and a subclass may, too.
        if type(predictor) not in (FastRCNNOutputLayers, LongTailPredictor):
            raise LtDetError(
                f"The box predictor of {type(roi_heads).__name__} is a {type(predictor).__name__}, and a bake-off and "
                "SECOND_STAGE.METHOD meta know only Detectron2's FastRCNNOutputLayers and lt_det's LongTailPredictor; "
                "choose another MODEL.ROI_HEADS.NAME."
            )
    recorders = [Recorder(predictor) for predictor in predictors]
    changed = {"mask_on": False, "keypoint_on": False, "train_on_pred_boxes": False}
    before = {name: getattr(roi_heads, name) for name in changed if hasattr(roi_heads, name)}
    roi_heads.box_predictor = nn.ModuleList(recorders) if isinstance(original, nn.ModuleList) else recorders[0]
    try:
        for name in before:
            setattr(roi_heads, name, changed[name])
        yield recorders
    finally:
        roi_heads.box_predictor = original
        for name, value in before.items():
            setattr(roi_heads, name, value)


@contextmanager
def training_mode(*modules: nn.Module | None) -> Iterator[None]:
    """Within, these modules are in training mode, and everything inside them stays in evaluation mode.

    So proposals are selected and RoIs are sampled as in training, while batch normalization and dropout work as at test
    time.
    """
    changed = [module for module in modules if module is not None]
    for module in changed:
        module.training = True
    try:
        yield
    finally:
        for module in changed:
            module.training = False
