"""Sigmoid (binary) cross-entropy: one independent detector per class."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lt_det.errors import LtDetError
from lt_det.losses._fused.weighted_sigmoid import weighted_sigmoid_cross_entropy
from lt_det.losses.base import ClassificationLoss, at_least_float32, divide_by_rois
from lt_det.losses.registry import register_loss


class SigmoidLoss(ClassificationLoss):
    """Base of the losses with one binary classifier per class.

    The classifier keeps Detectron2's K+1 columns and leaves the last one unused (zero gradient), so that checkpoints
    keep their shapes. Every class starts at probability `prior_prob`: K classes that all start at one half would
    begin with a loss of K ln 2.
    """

    def __init__(self, num_classes: int, *, prior_prob: float) -> None:
        super().__init__(num_classes)
        if not 0 < prior_prob < 1:
            raise LtDetError(f"PRIOR_PROB must lie between 0 and 1, but is {prior_prob}; 0.001 is usual.")
        self.prior_prob = prior_prob

    def scores(self, logits: Tensor) -> Tensor:
        logits = at_least_float32(logits)  # half precision would tie scores, and ties change AP
        probabilities = logits[:, : self.num_classes].sigmoid()
        return torch.cat([probabilities, torch.zeros_like(logits[:, :1])], dim=1)

    def predicted_classes(self, logits: Tensor) -> Tensor:
        best, classes = logits[:, : self.num_classes].max(dim=1)
        return torch.where(best > 0, classes, self.num_classes)  # no class above one half: background

    def initial_bias(self) -> Tensor:
        """-log((1 - pi) / pi) for the prior probability pi (Lin et al. 2017, section 4.1)."""
        bias = torch.full((self.num_logits,), -math.log((1 - self.prior_prob) / self.prior_prob))
        bias[self.num_classes :] = 0
        return bias


@register_loss("sigmoid")
class SigmoidCrossEntropy(SigmoidLoss):
    """L = (1/N) sum_i sum_k BCE(z_ik, t_ik) over the K foreground classes.

    Args:
        num_classes: K.
        prior_prob: starting probability of every class.
    """

    def __init__(self, num_classes: int, *, prior_prob: float = 0.001) -> None:
        super().__init__(num_classes, prior_prob=prior_prob)

    def forward(self, logits: Tensor, gt_classes: Tensor, features: Tensor | None = None) -> Tensor:
        total, _ = weighted_sigmoid_cross_entropy(self.checked_logits(logits), gt_classes)
        return divide_by_rois(total, len(gt_classes))
