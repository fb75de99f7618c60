"""Sigmoid (binary) cross-entropy: one independent binary classifier per class."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lt_det.errors import LtDetError
from lt_det.losses._fused_sigmoid import fused_rows, is_faster
from lt_det.losses._rows import Reduction, at_least_float32, checked, one_hot, reduced
from lt_det.losses.base import ClassificationLoss
from lt_det.losses.registry import register_loss, registered_name


def sigmoid_cross_entropy_loss(logits: Tensor, targets: Tensor, *, reduction: Reduction = "mean") -> Tensor:
    """L = sum_j BCE(z_j, y_j) over the K classes.

    Args:
        logits: (N, K) z.
        targets: (N,) int64 in 0..K-1, or K for background, whose y is all zeros.
        reduction: "none", "sum" or "mean".

    Returns:
        (N,) for "none", else a scalar.

    Raises:
        LtDetError: logits or targets have a wrong shape or type, or the reduction is unknown.
    """
    logits = checked(logits, targets)
    if is_faster(logits):  # the same numbers
        return reduced(fused_rows(logits, targets), reduction)
    y = one_hot(targets, logits)
    return reduced(F.binary_cross_entropy_with_logits(logits, y, reduction="none").sum(dim=1), reduction)


class SigmoidFamily(ClassificationLoss):
    """Base of the losses with one binary classifier per class.

    With background, the classifier keeps Detectron2's K+1 columns, so that checkpoints keep their shapes. The last
    column is unused and has zero gradient. The bias starts every class at probability `prior_prob`; if all K classes
    started at one half, the loss would start at K ln 2.

    Args:
        num_classes, background: see `ClassificationLoss`.
        prior_prob: initial probability of every class, between 0 and 1.

    Raises:
        LtDetError: prior_prob is outside (0, 1).
    """

    def __init__(self, num_classes: int, *, background: bool = True, prior_prob: float) -> None:
        super().__init__(num_classes, background=background)
        if not 0 < prior_prob < 1:
            name = registered_name(self).upper()
            raise LtDetError(f"{name}.PRIOR_PROB must lie between 0 and 1, but is {prior_prob}; 0.001 is usual.")
        self.prior_prob = prior_prob

    def class_logits(self, logits: Tensor) -> Tensor:
        """The (N, K) logits of the classes, without the unused column."""
        return logits[:, : self.num_classes] if self.background else logits

    def scores(self, logits: Tensor) -> Tensor:
        # In float32: in half precision different scores become equal, and ties change AP.
        probabilities = self.class_logits(at_least_float32(logits)).sigmoid()
        if not self.background:
            return probabilities
        return torch.cat([probabilities, torch.zeros_like(probabilities[:, :1])], dim=1)

    def predicted_classes(self, logits: Tensor) -> Tensor:
        best, classes = self.class_logits(logits).max(dim=1)
        if not self.background:
            return classes
        return torch.where(best > 0, classes, self.num_classes)  # no class above one half: background

    def initial_bias(self) -> Tensor:
        """-log((1 - pi) / pi) for the prior probability pi (Lin et al. 2017, section 4.1)."""
        bias = torch.full((self.num_logits,), -math.log((1 - self.prior_prob) / self.prior_prob))
        bias[self.num_classes :] = 0
        return bias


@register_loss("sigmoid")
class SigmoidCrossEntropyLoss(SigmoidFamily):
    """Sigmoid cross-entropy over the K foreground classes; see `sigmoid_cross_entropy_loss`.

    Args:
        num_classes, background: see `ClassificationLoss`.
        prior_prob: initial probability of every class, between 0 and 1.

    Raises:
        LtDetError: prior_prob is outside (0, 1).
    """

    def __init__(self, num_classes: int, *, background: bool = True, prior_prob: float = 0.001) -> None:
        super().__init__(num_classes, background=background, prior_prob=prior_prob)

    def row_losses(self, logits: Tensor, gt_classes: Tensor, features: Tensor | None) -> Tensor:
        return sigmoid_cross_entropy_loss(self.class_logits(logits), gt_classes, reduction="none")
