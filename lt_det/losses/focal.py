"""Sigmoid focal loss.

Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, https://arxiv.org/abs/1708.02002. As in fvcore.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from lt_det.errors import LtDetError
from lt_det.losses.base import at_least_float32
from lt_det.losses.registry import register_loss
from lt_det.losses.sigmoid import SigmoidLoss, one_hot_foreground

DivideBy = Literal["foreground", "rois"]


def focal_terms(logits: Tensor, targets: Tensor, gamma: float, alpha: float | None) -> Tensor:
    """alpha_t (1 - p_t)^gamma BCE(z, t), element by element (eq. 5).

    (1 - p_t)^gamma is taken as exp(gamma log(1 - p_t)): the power itself has an infinite derivative at saturation
    where gamma is below 1, and a nan gradient.

    Args:
        logits, targets: (N, K).
        gamma: focusing, at least 0.
        alpha: weight of positives, 1 - alpha of negatives; None: no weights.
    """
    signed = torch.where(targets > 0, logits, -logits)  # p_t = sigmoid(signed)
    terms = -F.logsigmoid(signed)
    if gamma > 0:
        terms = terms * torch.exp(gamma * F.logsigmoid(-signed))
    if alpha is not None:
        terms = terms * torch.where(targets > 0, alpha, 1 - alpha)
    return terms


def number_to_divide_by(divide_by: DivideBy, gt_classes: Tensor, num_classes: int) -> Tensor | int:
    """The number of foreground RoIs (the paper's, at least 1) or of all RoIs (Detectron2's)."""
    if divide_by == "foreground":
        return (gt_classes < num_classes).sum().clamp(min=1)
    return max(len(gt_classes), 1)


def check_divide_by(loss: str, divide_by: str) -> None:
    """Raise unless it is one of the two."""
    if divide_by not in ("foreground", "rois"):
        raise LtDetError(f"{loss}.DIVIDE_BY is '{divide_by}'; write foreground or rois.")


@register_loss("focal")
class SigmoidFocal(SigmoidLoss):
    """L = (1 / max(1, #foreground)) sum_i sum_k alpha_t (1 - p_t)^gamma BCE(z_ik, t_ik).

    Args:
        num_classes: K.
        alpha: weight of positive terms; None switches the weights off.
        gamma: focusing; 0 is sigmoid cross-entropy.
        prior_prob: starting probability of every class.
        divide_by: "foreground" as in the paper, or "rois" as Detectron2's other losses.

    Raises:
        LtDetError: gamma below 0, alpha outside [0, 1].
    """

    def __init__(
        self,
        num_classes: int,
        *,
        alpha: float | None = 0.25,
        gamma: float = 2.0,
        prior_prob: float = 0.01,
        divide_by: DivideBy = "foreground",
    ) -> None:
        super().__init__(num_classes, prior_prob=prior_prob)
        if gamma < 0:
            raise LtDetError(f"FOCAL.GAMMA must be at least 0, but is {gamma}; 2 is usual.")
        if alpha is not None and not 0 <= alpha <= 1:
            raise LtDetError(f"FOCAL.ALPHA must lie in [0, 1], but is {alpha}; 0.25 is usual, None is off.")
        check_divide_by("FOCAL", divide_by)
        self.alpha, self.gamma, self.divide_by = alpha, gamma, divide_by

    def forward(self, logits: Tensor, gt_classes: Tensor, features: Tensor | None = None) -> Tensor:
        logits = at_least_float32(logits)[:, : self.num_classes]
        targets = one_hot_foreground(gt_classes, self.num_classes, logits.dtype)
        total = focal_terms(logits, targets, self.gamma, self.alpha).sum()
        return total / number_to_divide_by(self.divide_by, gt_classes, self.num_classes)
