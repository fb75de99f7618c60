"""Sigmoid focal loss.

Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, https://arxiv.org/abs/1708.02002.
Checked against fvcore.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from lt_det.errors import LtDetError
from lt_det.losses._fused_sigmoid import fused_rows, is_faster
from lt_det.losses._rows import Reduction, checked, one_hot, reduced
from lt_det.losses.registry import register_loss
from lt_det.losses.sigmoid import SigmoidFamily

DivideBy = Literal["foreground", "rois"]


def num_foreground(gt_classes: Tensor, num_classes: int) -> Tensor:
    """Number of foreground rows, at least 1."""
    return (gt_classes < num_classes).sum().clamp(min=1)


def focal_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    alpha: float | None = 0.25,
    gamma: float = 2.0,
    reduction: Reduction = "mean",
) -> Tensor:
    """FL = sum_j -alpha_t (1 - p_t)^gamma log(p_t) over the K classes (eq. 5).

    For the target, p_t is sigmoid(z_j) and alpha_t is alpha. For all other classes, p_t is 1 - sigmoid(z_j) and alpha_t
    is 1 - alpha.

    Args:
        logits: (N, K) z.
        targets: (N,) int64 in 0..K-1, or K for background, whose one-hot target is all zeros.
        alpha: weight of the target's term; None sets every alpha_t to 1.
        gamma: focusing exponent; 0 is sigmoid cross-entropy.
        reduction: "none", "sum", or "mean" over the N rows; the paper divides the sum by the number of foreground rows.

    Returns:
        (N,) for "none", else a scalar.

    Raises:
        LtDetError: logits or targets have a wrong shape or type, or the reduction is unknown.
    """
    logits = checked(logits, targets)
    if is_faster(logits):  # the same numbers
        positive = None if alpha is None else logits.new_full(logits.shape[1:], alpha)
        negative = None if positive is None else 1 - positive
        rows = fused_rows(
            logits, targets, foreground=negative, background=negative, positive=positive, gamma=float(gamma)
        )
        return reduced(rows, reduction)
    y = one_hot(targets, logits)
    minus_log_p_t = F.binary_cross_entropy_with_logits(logits, y, reduction="none")
    log_one_minus_p_t = F.logsigmoid(logits * (1 - 2 * y))  # with exp, the slope is finite for gamma below 1, too
    alpha_t = 1.0 if alpha is None else alpha * y + (1 - alpha) * (1 - y)
    return reduced((alpha_t * torch.exp(gamma * log_one_minus_p_t) * minus_log_p_t).sum(dim=1), reduction)


@register_loss("focal")
class FocalLoss(SigmoidFamily):
    """Focal loss; see `focal_loss`.

    Args:
        num_classes, background: see `ClassificationLoss`.
        alpha: weight of positive terms, 0 to 1; negative terms have the weight 1 - alpha. None for no weights.
        gamma: focusing exponent, at least 0; 0 is sigmoid cross-entropy.
        prior_prob: initial probability of every class, between 0 and 1.
        divide_by: the mean divides by the number of "foreground" rows, as in the paper, or by the number N of all
            "rois", like Detectron2's box losses.

    Raises:
        LtDetError: gamma is below 0, alpha is outside [0, 1], prior_prob is outside (0, 1), or divide_by is unknown.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        background: bool = True,
        alpha: float | None = 0.25,
        gamma: float = 2.0,
        prior_prob: float = 0.01,
        divide_by: DivideBy = "foreground",
    ) -> None:
        super().__init__(num_classes, background=background, prior_prob=prior_prob)
        if gamma < 0:
            raise LtDetError(f"FOCAL.GAMMA must be at least 0, but is {gamma}; 2 is usual.")
        if alpha is not None and not 0 <= alpha <= 1:
            raise LtDetError(f"FOCAL.ALPHA must lie in [0, 1], but is {alpha}; 0.25 is usual, None is off.")
        if divide_by not in ("foreground", "rois"):
            raise LtDetError(f"FOCAL.DIVIDE_BY is '{divide_by}'; write foreground or rois.")
        self.alpha, self.gamma, self.divide_by = alpha, gamma, divide_by

    def row_losses(self, logits: Tensor, gt_classes: Tensor, features: Tensor | None) -> Tensor:
        return focal_loss(self.class_logits(logits), gt_classes, alpha=self.alpha, gamma=self.gamma, reduction="none")

    def divisor(self, gt_classes: Tensor) -> Tensor | int:
        if self.divide_by == "foreground":
            return num_foreground(gt_classes, self.num_classes)
        return super().divisor(gt_classes)
