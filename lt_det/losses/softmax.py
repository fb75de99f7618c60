"""Softmax cross-entropy: Detectron2's own loss, the baseline of every long-tail paper."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lt_det.losses.base import ClassificationLoss, at_least_float32
from lt_det.losses.registry import register_loss


class SoftmaxLoss(ClassificationLoss):
    """Base of the losses over K+1 mutually exclusive classes, background being column K."""

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
        if gt_classes.numel() == 0:
            return logits.sum() * 0.0  # F.cross_entropy's mean over nothing is nan
        return F.cross_entropy(at_least_float32(logits), gt_classes, reduction="mean")
