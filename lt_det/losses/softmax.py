"""Softmax cross-entropy: Detectron2's own loss, the baseline of every long-tail paper."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lt_det.losses.base import ClassificationLoss, at_least_float32, divide_by_rois
from lt_det.losses.registry import register_loss
from lt_det.losses.reweighting import DeferredReweighting


class SoftmaxLoss(ClassificationLoss):
    """Base of the losses over K+1 mutually exclusive classes, background being column K: one loss per RoI.

    Attributes:
        reweighting: weighs the rows, for losses that are combined with deferred re-weighting; None: they weigh alike.
    """

    takes_reweighting = True
    reweighting: DeferredReweighting | None

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.reweighting = None

    def mean_of_rows(self, rows: Tensor, gt_classes: Tensor) -> Tensor:
        """(N,) losses of the RoIs to their (weighed) sum over N."""
        if self.reweighting is not None and self.has_reached(self.reweighting.start):
            rows = self.reweighting(rows, gt_classes)
        return divide_by_rois(rows.sum(), len(gt_classes))

    def scores(self, logits: Tensor) -> Tensor:
        return torch.softmax(at_least_float32(logits), dim=-1)

    def predicted_classes(self, logits: Tensor) -> Tensor:
        return logits.argmax(dim=1)


@register_loss("softmax")
class SoftmaxCrossEntropy(SoftmaxLoss):
    """L = (1/N) sum_i -log softmax(z_i)[y_i] over K+1 columns, background being column K.

    Equal to stock Detectron2 bit for bit.
    """

    def forward(self, logits: Tensor, gt_classes: Tensor, features: Tensor | None = None) -> Tensor:
        logits = self.checked_logits(logits)
        if self.reweighting is not None or gt_classes.numel() == 0:  # F.cross_entropy's mean over nothing is nan
            rows = F.cross_entropy(logits, gt_classes, reduction="none")
            return self.mean_of_rows(rows, gt_classes)
        return F.cross_entropy(logits, gt_classes, reduction="mean")
