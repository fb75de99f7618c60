"""Federated loss: sigmoid cross-entropy on a sample of the classes.

Zhou et al., "Probabilistic two-stage detection", section 5.3, https://arxiv.org/abs/2103.07461. Checked against
Detectron2, whose own version has the frequencies of LVIS v1 only and does not set the initial bias.
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
from lt_det.terminal import count_of

if TYPE_CHECKING:
    from lt_det.statistics.class_stats import ClassStats


def sample_classes(targets: Tensor, class_weight: Tensor, num_sampled: int) -> Tensor:
    """Sample S: the targets of the batch, and other classes at random until |S| = `num_sampled`.

    Classes are sampled without replacement, with probability proportional to their weight. Background in the batch
    takes one of the places, as in Detectron2. S is smaller if there are not enough classes with a weight above 0.

    Args:
        targets: (N,) int64, K for background.
        class_weight: (K,) weights of at least 0.
        num_sampled: number of classes in S.

    Returns:
        (K,) bool, whether each class is in S.
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
        sampled: (K,) bool, S; it must contain every foreground target, see `sample_classes`.
        reduction: "none", "sum" or "mean".

    Returns:
        (N,) for "none", else a scalar.

    Raises:
        LtDetError: logits or targets have a wrong shape or type, or the reduction is unknown.
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
    """Federated loss; see `federated_loss`. `sample_classes` samples S for every batch.

    The annotation of an LVIS image does not mention most classes, so it would often be wrong to treat all of them as
    negatives.

    Args:
        num_classes, background: see `ClassificationLoss`.
        image_counts: K training images per class; None for a model that only predicts.
        num_sampled: number of classes in S, the sample of each batch; at least 1.
        frequency_power: a class is sampled with probability proportional to its image count to this power, at least 0;
            a class without images is never sampled.
        prior_prob: initial probability of every class, between 0 and 1.

    Raises:
        LtDetError: num_sampled is below 1, frequency_power is below 0, or prior_prob or the counts are invalid.
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
        if num_sampled < 1 or num_sampled != int(num_sampled):
            raise LtDetError(
                f"FEDERATED.NUM_SAMPLED must be a whole number of at least 1, but is {num_sampled}; 50 is usual for "
                "LVIS."
            )
        if frequency_power < 0:
            raise LtDetError(f"FEDERATED.FREQUENCY_POWER must be at least 0, but is {frequency_power}; 0.5 is usual.")
        self.num_sampled = num_sampled
        weight = self.class_counts(image_counts) ** frequency_power  # class_counts raises counts of 0 to 1
        if image_counts is not None:
            weight[torch.as_tensor(image_counts) == 0] = 0
        self.register_buffer("class_weight", weight.float(), persistent=False)

    @classmethod
    def from_stats(cls, stats: ClassStats, **hyperparameters: Any) -> ClassificationLoss:
        return cls(stats.num_classes, image_counts=stats.counts("images"), **hyperparameters)

    def remark(self, stats: ClassStats) -> str:
        seen = int((stats.image_counts > 0).sum())
        if self.num_sampled <= seen:  # background takes one of the places
            return ""
        return (
            f"MODEL.LONG_TAIL.LOSS.FEDERATED.NUM_SAMPLED is {self.num_sampled}, but the training set has images of "
            f"only {count_of(seen, 'class')}: all are in every sample, so the loss is sigmoid cross-entropy. Set it to "
            f"at most {seen}, or use another loss."
        )

    def row_losses(self, logits: Tensor, gt_classes: Tensor, features: Tensor | None) -> Tensor:
        sampled = sample_classes(gt_classes, self.class_weight, self.num_sampled)
        return federated_loss(self.class_logits(logits), gt_classes, sampled, reduction="none")
