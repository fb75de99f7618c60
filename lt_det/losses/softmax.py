"""Softmax cross-entropy: Detectron2's own loss, and the baseline of every long-tail paper."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lt_det.losses._rows import Reduction, at_least_float32, checked, reduced
from lt_det.losses.base import ClassificationLoss
from lt_det.losses.registry import register_loss


def softmax_cross_entropy_loss(logits: Tensor, targets: Tensor, *, reduction: Reduction = "mean") -> Tensor:
    """L = -log softmax(z)_y.

    Args:
        logits: (N, C) z.
        targets: (N,) y, int64 in 0..C-1; in a detector's box head C is K+1 and y = K is background.
        reduction: "none", "sum" or "mean".

    Returns:
        (N,) for "none", else a scalar. The mean equals Detectron2's own loss bit for bit.

    Raises:
        LtDetError: logits or targets have a wrong shape or type, or the reduction is unknown.
    """
    logits = checked(logits, targets)
    if reduction == "mean" and len(targets):  # F.cross_entropy's mean over nothing is nan
        return F.cross_entropy(logits, targets)
    return reduced(F.cross_entropy(logits, targets, reduction="none"), reduction)


class SoftmaxFamily(ClassificationLoss):
    """Base of the losses over mutually exclusive classes. Background is one of them, column K."""

    def scores(self, logits: Tensor) -> Tensor:
        return torch.softmax(at_least_float32(logits), dim=-1)

    def predicted_classes(self, logits: Tensor) -> Tensor:
        return logits.argmax(dim=1)


@register_loss("softmax")
class SoftmaxCrossEntropyLoss(SoftmaxFamily):
    """Softmax cross-entropy over K+1 columns (K without background); see `softmax_cross_entropy_loss`.

    Args:
        num_classes, background: see `ClassificationLoss`.
    """

    def forward(
        self, logits: Tensor, gt_classes: Tensor, features: Tensor | None = None, reduction: Reduction = "mean"
    ) -> Tensor:
        return softmax_cross_entropy_loss(self.checked_logits(logits, gt_classes), gt_classes, reduction=reduction)
