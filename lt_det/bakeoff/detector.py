"""The frozen detector of a bake-off, and its box head with another classifier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_model
from torch import Tensor, nn

from lt_det.config import REWEIGHTING_DEFAULTS, chosen_classifier
from lt_det.data.class_names import class_names
from lt_det.errors import LtDetError
from lt_det.modeling import LongTailPredictor
from lt_det.training.checkpointer import evaluation_checkpointer

# Detectron2's ROI heads, and those of lt_det that read their checkpoints.
_LONG_TAIL_HEADS = {
    "StandardROIHeads": "LongTailROIHeads",
    "CascadeROIHeads": "LongTailCascadeROIHeads",
    "Res5ROIHeads": "LongTailRes5ROIHeads",
}

States = Sequence[Mapping[str, Tensor]]  # a state dict for each stage of the box head


class Classifiers(Protocol):
    """Trained classifiers, one for each stage, and the state of the losses that they were trained with."""

    @property
    def classifiers(self) -> States:
        """State dict of each stage's ``cls_score``."""

    @property
    def losses(self) -> States:
        """State dict of each stage's ``loss``, which may decide the scores."""


@dataclass(frozen=True, eq=False)
class ClassifierStates:
    """`Classifiers` that were not trained in the bake-off: those of the detector, or adjusted ones."""

    classifiers: list[dict[str, Tensor]]
    losses: list[dict[str, Tensor]]

    @classmethod
    def of(cls, predictors: Sequence[LongTailPredictor]) -> ClassifierStates:
        """Copies of the states of box predictors."""
        return cls(
            [_copied(predictor.cls_score) for predictor in predictors],
            [_copied(predictor.loss) for predictor in predictors],
        )


def _copied(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def detector_config(cfg: Any) -> Any:
    """The config of a finished training as one whose box head and loss are lt_det's, without decoupled training.

    It builds the same detector. Detectron2's own heads become those of lt_det, and its sigmoid and federated losses
    the losses of lt_det that score in the same way. A candidate is this config with other keys of MODEL.LONG_TAIL.

    Args:
        cfg: a config with lt_det's keys; it stays unchanged.
    """
    converted = cfg.clone()
    converted.defrost()
    heads, box_head, node = converted.MODEL.ROI_HEADS, converted.MODEL.ROI_BOX_HEAD, converted.MODEL.LONG_TAIL
    node.CLASSIFIER = chosen_classifier(cfg)
    node.SECOND_STAGE.METHOD = ""
    if heads.NAME in _LONG_TAIL_HEADS:  # these use no key of MODEL.LONG_TAIL
        heads.NAME = _LONG_TAIL_HEADS[heads.NAME]
        node.CLASSIFIER, node.COSINE_SCALE = "linear", None
        node.REWEIGHTING.update(REWEIGHTING_DEFAULTS, START=None)
        loss = node.LOSS
        loss.NAME = "softmax"
        if box_head.USE_SIGMOID_CE:
            loss.NAME = "sigmoid"
        if box_head.USE_FED_LOSS:
            loss.NAME = "federated"
            loss.FEDERATED.NUM_SAMPLED = box_head.FED_LOSS_NUM_CLASSES
            loss.FEDERATED.FREQUENCY_POWER = box_head.FED_LOSS_FREQ_WEIGHT_POWER
        box_head.USE_SIGMOID_CE = box_head.USE_FED_LOSS = False
    return converted


def load_detector(cfg: Any) -> nn.Module:
    """The detector of `detector_config` with MODEL.WEIGHTS, in evaluation mode.

    Raises:
        LtDetError: the weights are missing, corrupt or those of another model, or the model has no box predictor of
            lt_det or Detectron2.
    """
    converted = detector_config(cfg)
    model: nn.Module = build_model(converted)
    box_predictors(model)
    method = cfg.MODEL.LONG_TAIL.SECOND_STAGE.METHOD
    evaluation_checkpointer(model, "", method, class_names(cfg)).load(converted.MODEL.WEIGHTS)
    return model.eval()


def box_predictors(model: nn.Module) -> list[LongTailPredictor]:
    """The box predictors of a model with lt_det's ROI heads, one for each stage.

    Raises:
        LtDetError: there are none.
    """
    found = [module for module in model.modules() if isinstance(module, LongTailPredictor)]
    if not found:
        heads = type(getattr(model, "roi_heads", model)).__name__
        raise LtDetError(
            f"MODEL.ROI_HEADS.NAME {heads} has neither Detectron2's box predictor nor lt_det's, so that no other "
            f"classifier can be put into it; use {', '.join(_LONG_TAIL_HEADS)} or lt_det's versions of them."
        )
    return found


def with_classifiers(
    own: Sequence[LongTailPredictor], cfg: Any, trained: Classifiers | None = None
) -> list[LongTailPredictor]:
    """Box predictors with the box regression of the detector and the classifier and loss of a candidate.

    Args:
        own: the detector's.
        cfg: the candidate's config, see `detector_config`.
        trained: weights of classifiers and losses; None for those of initialization.
    """
    predictors = []
    with torch.random.fork_rng(devices=[]):  # the initial weights do not matter
        for stage, detector in enumerate(own):
            shape = ShapeSpec(channels=detector.cls_score.in_features, height=1, width=1)
            predictor = LongTailPredictor(cfg, shape, box2box_transform=detector.box2box_transform)
            predictor.bbox_pred = detector.bbox_pred
            if trained is not None:
                predictor.cls_score.load_state_dict(trained.classifiers[stage])
                predictor.loss.load_state_dict(trained.losses[stage])
            predictors.append(predictor.to(detector.bbox_pred.weight.device).eval())
    return predictors
