"""Federated loss: sigmoid cross-entropy on a sample of the classes.

Zhou et al., "Probabilistic two-stage detection", section 5.3, https://arxiv.org/abs/2103.07461. Checked against
Detectron2, whose own version knows the frequencies of LVIS v1 only and sets no prior bias.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lt_det.errors import LtDetError
from lt_det.losses._fused.weighted_sigmoid import weighted_sigmoid_cross_entropy
from lt_det.losses.base import ClassificationLoss, divide_by_rois
from lt_det.losses.class_weights import Counts
from lt_det.losses.registry import register_loss
from lt_det.losses.sigmoid import SigmoidLoss
from lt_det.statistics.class_stats import ClassStats


def sample_classes(gt_classes: Tensor, class_weight: Tensor, num_sampled: int) -> Tensor:
    """S: the labels of the batch, and negative classes drawn in proportion to their weight until |S| = `num_sampled`.

    Background counts towards the quota where it occurs, as in Detectron2; fewer classes are drawn where no more
    have weight.

    Args:
        gt_classes: (N,) labels, K for background.
        class_weight: (K,) at least 0.

    Returns:
        (K,) bool.
    """
    num_classes = len(class_weight)
    present = torch.unique(gt_classes)
    sampled = torch.zeros(num_classes + 1, dtype=torch.bool, device=class_weight.device)
    sampled[present] = True
    weight = torch.where(sampled[:num_classes], 0.0, class_weight)
    wanted = min(num_sampled - len(present), int((weight > 0).sum()))
    if wanted > 0:
        sampled[torch.multinomial(weight, wanted, replacement=False)] = True
    return sampled[:num_classes]


@register_loss("federated")
class Federated(SigmoidLoss):
    """L = (1/N) sum_i sum_{k in S} BCE(z_ik, t_ik), S drawn for every batch by `sample_classes`.

    An LVIS image says nothing about most classes; pushing all of them down everywhere would be wrong as often.

    Args:
        num_classes: K.
        image_counts: K training images per class; None for a model that only predicts.
        num_sampled: |S|.
        frequency_power: negatives are drawn with probability proportional to image_counts to this power; a class
            without images is never drawn.
        prior_prob: starting probability of every class.

    Raises:
        LtDetError: fewer than one class to sample, a power below 0, counts that do not fit.
    """

    statistics = ("image_counts",)
    class_weight: Tensor

    def __init__(
        self,
        num_classes: int,
        *,
        image_counts: Counts | None = None,
        num_sampled: int = 50,
        frequency_power: float = 0.5,
        prior_prob: float = 0.01,
    ) -> None:
        super().__init__(num_classes, prior_prob=prior_prob)
        if num_sampled < 1:
            raise LtDetError(f"FEDERATED.NUM_SAMPLED must be at least 1, but is {num_sampled}; 50 is usual for LVIS.")
        if frequency_power < 0:
            raise LtDetError(f"FEDERATED.FREQUENCY_POWER must be at least 0, but is {frequency_power}; 0.5 is usual.")
        self.num_sampled = num_sampled
        weight = self.class_counts(image_counts) ** frequency_power  # which counts a class without images as one
        if image_counts is not None:
            weight[torch.as_tensor(image_counts) == 0] = 0
        self.register_buffer("class_weight", weight.float(), persistent=False)

    @classmethod
    def from_stats(cls, stats: ClassStats, **hyperparameters: Any) -> ClassificationLoss:
        return cls(stats.num_classes, image_counts=stats.counts("images"), **hyperparameters)

    def forward(self, logits: Tensor, gt_classes: Tensor, features: Tensor | None = None) -> Tensor:
        return self.loss_on(sample_classes(gt_classes, self.class_weight, self.num_sampled), logits, gt_classes)

    def loss_on(self, sampled: Tensor, logits: Tensor, gt_classes: Tensor) -> Tensor:
        """The loss on given classes, (K,) bool."""
        logits = self.checked_logits(logits)
        kept = sampled.to(logits.dtype)  # every label of the batch is among them
        total, _ = weighted_sigmoid_cross_entropy(logits, gt_classes, foreground=kept, background=kept)
        return divide_by_rois(total, len(gt_classes))
