"""The box predictor: Detectron2's, with any classification loss."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, NoReturn

import torch
from detectron2.config import configurable
from detectron2.layers import ShapeSpec, cat
from detectron2.modeling.roi_heads.fast_rcnn import FastRCNNOutputLayers
from detectron2.structures import Instances
from detectron2.utils.events import get_event_storage
from torch import Tensor, nn

from lt_det.config import chosen_classifier
from lt_det.errors import LtDetError
from lt_det.layers import CosineClassifier, build_classifier
from lt_det.layers.build import checked_kind, set_initial_bias
from lt_det.losses import LOSSES, ClassificationLoss, ClassReweighting, registered_name
from lt_det.modeling.detections import select_detections
from lt_det.modeling.loss_builder import loss_of_config
from lt_det.modeling.training_accuracy import TrainingAccuracy
from lt_det.terminal import count_of
from lt_det.trainer_keys import TrainerKeys

logger = logging.getLogger(__name__)

Predictions = tuple[Tensor, ...]


def refuse_stock_loss(key: str) -> NoReturn:
    """Raise because a config asks for a loss of the stock head and for one of lt_det."""
    raise LtDetError(
        f"MODEL.ROI_BOX_HEAD.{key} chooses a loss of the stock head; "
        "set it to False and choose with MODEL.LONG_TAIL.LOSS.NAME."
    )


class LongTailPredictor(FastRCNNOutputLayers):
    """`FastRCNNOutputLayers` with a `ClassificationLoss` for training and scores.

    Box regression, thresholds and the detections that non-maximum suppression keeps stay Detectron2's.

    Attributes:
        training_sets: names of the training sets, whose classes lt_det's ROI heads compare with the labels.
        training_loss: replaces `loss` in training, and is called with (N, C) logits, (N,) targets and (N, D) features;
            None: nothing replaces it. `lt_det.training.meta` sets it.
    """

    cls_score: nn.Linear | CosineClassifier

    @configurable
    def __init__(
        self,
        input_shape: ShapeSpec,
        *,
        loss: ClassificationLoss | ClassReweighting,
        classifier: str = "auto",
        cosine_scale: float | None = None,
        max_iter: int | None = None,
        loss_of_weights: str = "",
        trainer_keys: TrainerKeys | None = None,
        **kwargs: Any,
    ) -> None:
        """
        Args:
            input_shape: shape of the box features.
            loss: decides the number of logits, the starting bias, the loss and the scores.
            classifier: "linear", "cosine", "scaled" (linear, a scale per class), or "auto" for the loss's own choice.
            cosine_scale: s of the cosine classifier; None: `CosineClassifier`'s default, or 1 where the loss scales
                the cosines itself.
            max_iter: length of the training in iterations; a loss with phases refuses to train without it.
            loss_of_weights: the registered loss that trained the classifier in the weights to start from, where they
                do not say it, see docs/starting_from_a_detector.md.
            trainer_keys: keys of the config that a trainer has to apply; training is refused where it does not.
            kwargs: arguments of `FastRCNNOutputLayers`; ``num_classes`` may be left out.

        Raises:
            LtDetError: an unknown classifier, a scale that has no effect, a number of classes that differs from the
                loss's, an unknown `loss_of_weights`, or a loss of the stock head.
        """
        num_classes = kwargs.pop("num_classes", loss.num_classes)
        if num_classes != loss.num_classes:
            raise LtDetError(
                f"The box head has {count_of(num_classes, 'class')} (MODEL.ROI_HEADS.NUM_CLASSES) but its loss "
                f"{loss.num_classes}; give both the same number."
            )
        for key in ("use_sigmoid_ce", "use_fed_loss"):
            if kwargs.get(key):
                refuse_stock_loss(key.upper())
        if loss_of_weights and loss_of_weights not in LOSSES:
            raise LtDetError(
                f"MODEL.LONG_TAIL.LOSS_OF_WEIGHTS is '{loss_of_weights}', which is no loss; write one of "
                f"{', '.join(sorted(LOSSES))}, or leave it out."
            )
        super().__init__(input_shape, num_classes=num_classes, **kwargs)
        classifier = checked_kind(loss, classifier, cosine_scale)
        if classifier == "linear" and loss.num_logits == self.cls_score.out_features:
            set_initial_bias(self.cls_score, loss)  # Detectron2's own layer, with the weights it has at this seed
        else:
            self.cls_score = build_classifier(self.cls_score.in_features, loss, classifier, cosine_scale)
        self.loss = loss
        self.training_sets: tuple[str, ...] = ()
        self.training_loss: Callable[[Tensor, Tensor, Any], Tensor] | None = None
        self.loss_of_weights = loss_of_weights
        self._is_first_loss = True
        self.accuracy = TrainingAccuracy(num_classes)
        self.max_iter = max_iter
        self.trainer_keys = trainer_keys or TrainerKeys({})

    @classmethod
    def from_config(cls, cfg: Any, input_shape: ShapeSpec) -> dict[str, Any]:
        if "LONG_TAIL" not in cfg.MODEL:
            raise LtDetError("The config has no MODEL.LONG_TAIL; call lt_det.add_lt_config(cfg) right after get_cfg().")
        arguments = super().from_config(cfg, input_shape)
        arguments["max_iter"] = cfg.SOLVER.MAX_ITER
        arguments["classifier"] = chosen_classifier(cfg)
        arguments["cosine_scale"] = cfg.MODEL.LONG_TAIL.COSINE_SCALE
        arguments["loss_of_weights"] = cfg.MODEL.LONG_TAIL.LOSS_OF_WEIGHTS
        arguments["trainer_keys"] = TrainerKeys.from_config(cfg)
        arguments["loss"] = loss_of_config(cfg)
        return arguments

    def forward(self, x: Tensor) -> Predictions:
        """(N, ...) box features to logits (N, num_logits) and box deltas; in training also the features, if they are
        needed for the loss."""
        if x.dim() > 2:
            x = torch.flatten(x, start_dim=1)
        logits, deltas = self.cls_score(x), self.bbox_pred(x)
        return (logits, deltas, x) if self.training and self._needs_features else (logits, deltas)

    def losses(self, predictions: Predictions, proposals: list[Instances]) -> dict[str, Tensor]:
        """The stock method's losses, with ``loss_cls`` from `self.loss`.

        Raises:
            LtDetError: a config key that this trainer would ignore.
        """
        self.trainer_keys.check()
        if self._is_first_loss:
            self._is_first_loss = False
            self._warn_of_softmax_weights()
        logits, deltas = predictions[:2]
        features = predictions[2] if self._needs_features else None
        if len(proposals):
            gt_classes = cat([p.gt_classes for p in proposals], dim=0)
            proposal_boxes = cat([p.proposal_boxes.tensor for p in proposals], dim=0)
            # An image without objects has no gt_boxes; all its proposals are background, which box regression skips.
            gt_boxes = cat([(p.gt_boxes if p.has("gt_boxes") else p.proposal_boxes).tensor for p in proposals], dim=0)
        else:
            gt_classes = torch.empty(0, dtype=torch.int64, device=logits.device)
            proposal_boxes = gt_boxes = torch.empty((0, 4), device=deltas.device)
        if self.max_iter is not None:
            self.loss.progress = get_event_storage().iter / self.max_iter
        loss_cls = (self.training_loss or self.loss)(logits, gt_classes, features)  # it checks the labels
        self.accuracy.update(self.loss.predicted_classes(logits.detach()), gt_classes)
        losses = {
            "loss_cls": loss_cls,
            "loss_box_reg": self.box_reg_loss(proposal_boxes, gt_boxes, deltas, gt_classes),
        }
        return {name: value * self.loss_weight.get(name, 1.0) for name, value in losses.items()}

    @property
    def _needs_features(self) -> bool:
        return self.loss.uses_features or self.training_loss is not None

    def _warn_of_softmax_weights(self) -> None:
        """Log that a sigmoid loss starts from weights of a softmax, which only lt_det's checkpointer resets.

        The column of background has no gradient in a sigmoid loss (but EQLv2's), so that its bias is 0 unless the
        weights come from elsewhere.
        """
        prior, bias = self.loss.initial_bias(), self.cls_score.bias
        if self.loss.family != "sigmoid" or prior is None or bias is None or prior[self.num_classes] != 0:
            return
        if bias[self.num_classes] != 0:
            logger.warning(
                f"The box classifier starts from weights of a softmax, but {registered_name(self.loss)} has a sigmoid "
                "per class, so the first losses will be many times those of a fresh start; load MODEL.WEIGHTS with "
                "lt_det.training.LongTailCheckpointer, which lets it start fresh, or train with lt_det.training.equip."
            )

    def inference(self, predictions: Predictions, proposals: list[Instances]) -> tuple[list[Instances], list[Tensor]]:
        """The stock method's detections and their rows, see `select_detections`."""
        return select_detections(
            self.predict_boxes(predictions, proposals),
            self.predict_probs(predictions, proposals),
            [p.image_size for p in proposals],
            self.test_score_thresh,
            self.test_nms_thresh,
            self.test_topk_per_image,
        )

    def predict_boxes(self, predictions: Predictions, proposals: list[Instances]) -> tuple[Tensor, ...]:
        return super().predict_boxes(predictions[:2], proposals)

    def predict_boxes_for_gt_classes(self, predictions: Predictions, proposals: list[Instances]) -> Any:
        return super().predict_boxes_for_gt_classes(predictions[:2], proposals)

    def predict_probs(self, predictions: Predictions, proposals: list[Instances]) -> tuple[Tensor, ...]:
        """Per image (R_i, K+1) scores, background last."""
        # In a trace `len` would make the number of proposals a constant; `__len__` keeps it a tensor.
        return self.loss.scores(predictions[0]).split([p.__len__() for p in proposals], dim=0)
