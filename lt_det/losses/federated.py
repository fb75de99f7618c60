"""Federated loss: sigmoid cross-entropy on a sample of the classes.

Zhou et al., "Probabilistic two-stage detection", section 5.3, https://arxiv.org/abs/2103.07461. Checked against
Detectron2, whose own version knows the frequencies of LVIS v1 only and sets no prior bias.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lt_det.errors import LtDetError
from lt_det.losses._fused_sigmoid import fused_rows, is_faster
from lt_det.losses._rows import Reduction, checked, one_hot, reduced
from lt_det.losses.base import ClassificationLoss
from lt_det.losses.class_weights import Counts
from lt_det.losses.registry import register_loss
from lt_det.losses.sigmoid import SigmoidFamily

if TYPE_CHECKING:
    from lt_det.statistics.class_stats import ClassStats


def sample_classes(targets: Tensor, class_weight: Tensor, num_sampled: int) -> Tensor:
    """S: the targets of the batch, and negative classes drawn in proportion to their weight until |S| = `num_sampled`.

    Background counts towards the quota where it occurs, as in Detectron2; fewer classes are drawn where no more
    have weight.

    Args:
        targets: (N,) int64, K for background.
        class_weight: (K,) at least 0.
        num_sampled: |S|.

    Returns:
        (K,) bool.
    """
    num_classes = len(class_weight)
    present = torch.unique(targets)
    sampled = torch.zeros(num_classes + 1, dtype=torch.bool, device=class_weight.device)
    sampled[present] = True
    weight = torch.where(sampled[:num_classes], 0.0, class_weight)
    wanted = min(num_sampled - len(present), int((weight > 0).sum()))
    if wanted > 0:
        sampled[torch.multinomial(weight, wanted, replacement=False)] = True
    return sampled[:num_classes]


def federated_loss(logits: Tensor, targets: Tensor, sampled: Tensor, *, reduction: Reduction = "mean") -> Tensor:
    """L = sum_{j in S} BCE(z_j, y_j).

    Args:
        logits: (N, K) z.
        targets: (N,) int64 in 0..K-1, or K for background, whose y is all zeros.
        sampled: (K,) bool, S, which must contain every foreground target; see `sample_classes`.
        reduction: "none", "sum" or "mean".

    Returns:
        (N,) for "none", else a scalar.
    """
    logits = checked(logits, targets)
    in_sample = sampled.to(logits.dtype)
    if is_faster(logits):  # the same numbers
        return reduced(fused_rows(logits, targets, foreground=in_sample, background=in_sample), reduction)
    y = one_hot(targets, logits)
    terms = in_sample * F.binary_cross_entropy_with_logits(logits, y, reduction="none")
    return reduced(terms.sum(dim=1), reduction)


@register_loss("federated")
class FederatedLoss(SigmoidFamily):
    """Federated loss; see `federated_loss`. S is drawn for every batch by `sample_classes`.

    An LVIS image says nothing about most classes; pushing all of them down everywhere would often be wrong.

    Args:
        num_classes, background: see `ClassificationLoss`.
        image_counts: K training images per class; None for a model that only predicts.
        num_sampled: |S|.
        frequency_power: negatives are drawn with probability proportional to image_counts to this power; a class
            without images is never drawn.
        prior_prob: starting probability of every class.

    Raises:
        LtDetError: fewer than one class to sample, a power below 0, invalid counts.
    """

    statistics = ("image_counts",)
    class_weight: Tensor

    def __init__(
        self,
        num_classes: int,
        *,
        background: bool = True,
        image_counts: Counts | None = None,
        num_sampled: int = 50,
        frequency_power: float = 0.5,
        prior_prob: float = 0.01,
    ) -> None:
        super().__init__(num_classes, background=background, prior_prob=prior_prob)
        if num_sampled < 1:
            raise LtDetError(f"FEDERATED.NUM_SAMPLED must be at least 1, but is {num_sampled}; 50 is usual for LVIS.")
        if frequency_power < 0:
            raise LtDetError(f"FEDERATED.FREQUENCY_POWER must be at least 0, but is {frequency_power}; 0.5 is usual.")
        self.num_sampled = num_sampled
        weight = self.class_counts(image_counts) ** frequency_power  # class_counts takes a class without images as one
        if image_counts is not None:
            weight[torch.as_tensor(image_counts) == 0] = 0
        self.register_buffer("class_weight", weight.float(), persistent=False)

    @classmethod
    def from_stats(cls, stats: ClassStats, **hyperparameters: Any) -> ClassificationLoss:
        return cls(stats.num_classes, image_counts=stats.counts("images"), **hyperparameters)

    def row_losses(self, logits: Tensor, gt_classes: Tensor, features: Tensor | None) -> Tensor:
        sampled = sample_classes(gt_classes, self.class_weight, self.num_sampled)
        return federated_loss(self.class_logits(logits), gt_classes, sampled, reduction="none")
