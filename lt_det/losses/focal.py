"""Sigmoid focal loss.

Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, https://arxiv.org/abs/1708.02002. As in fvcore.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from lt_det.errors import LtDetError
from lt_det.losses._fused.weighted_sigmoid import weighted_sigmoid_cross_entropy
from lt_det.losses.registry import register_loss
from lt_det.losses.sigmoid import SigmoidLoss

DivideBy = Literal["foreground", "rois"]


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
        logits = self.checked_logits(logits)
        negative = positive = None
        if self.alpha is not None:
            positive = logits.new_full((self.num_classes,), self.alpha)
            negative = 1 - positive
        total, _ = weighted_sigmoid_cross_entropy(
            logits, gt_classes, foreground=negative, background=negative, positive=positive, gamma=self.gamma
        )
        return total / number_to_divide_by(self.divide_by, gt_classes, self.num_classes)
