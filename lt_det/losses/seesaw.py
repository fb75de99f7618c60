"""Seesaw loss.

Wang et al., "Seesaw Loss for Long-Tailed Instance Segmentation", CVPR 2021, https://arxiv.org/abs/2008.10032.
Checked against mmdetection 3.3.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lt_det.errors import LtDetError
from lt_det.losses._all_reduce import sum_over_processes
from lt_det.losses._rows import Reduction, at_least_float32, checked, one_hot, reduced
from lt_det.losses.base import ClassificationLoss
from lt_det.losses.registry import register_loss


def seesaw_loss(
    logits: Tensor,
    targets: Tensor,
    counts: Tensor,
    *,
    p: float = 0.8,
    q: float = 2.0,
    epsilon: float = 0.01,
    reduction: Reduction = "mean",
) -> Tensor:
    """L = -log(e^z_i / (sum_{j != i} S_ij e^z_j + e^z_i)) with S_ij = M_ij C_ij for target i (eq. 4 to 6).

    sigma is softmax(z). The mitigation factor M_ij = min(1, (N_j / N_i)^p) reduces the negative gradient of classes
    that have occurred less often than the target. The compensation factor C_ij = max(1, (sigma_j / sigma_i)^q)
    increases it for classes that score higher than the target. Because S_ij e^z_j = e^(z_j + log S_ij), the loss is
    computed as a cross-entropy.

    Args:
        logits: (N, K) z.
        targets: (N,) i, int64 in 0..K-1.
        counts: (K,) N, how often each class has been a target so far; 0 counts as 1.
        p, q: exponents of M and C; with both 0 the loss is softmax cross-entropy.
        epsilon: lower bound of sigma_i.
        reduction: "none", "sum" or "mean".

    Returns:
        (N,) for "none", else a scalar. No gradient flows through S.

    Raises:
        LtDetError: logits or targets have a wrong shape or type, or the reduction is unknown.
    """
    logits = checked(logits, targets)
    log_n = counts.clamp(min=1).to(logits.dtype).log()
    log_M = p * (log_n.unsqueeze(0) - log_n[targets].unsqueeze(1)).clamp(max=0)
    log_sigma = logits.detach().log_softmax(dim=1)
    log_sigma_i = log_sigma.gather(1, targets.unsqueeze(1)).clamp(min=math.log(epsilon))
    log_C = q * (log_sigma - log_sigma_i).clamp(min=0)
    log_S = (log_M + log_C) * (1 - one_hot(targets, logits))  # 0 at the target
    return reduced(F.cross_entropy(logits + log_S, targets, reduction="none"), reduction)


@register_loss("seesaw")
class SeesawLoss(ClassificationLoss):
    """Seesaw loss with objectness: K class columns, then the columns "foreground" and "background".

    The loss of a row is the cross-entropy of the two objectness columns, plus `seesaw_loss` of the K class columns if
    the row is foreground. The score of class k is softmax(z)_k P(foreground). Without background there are K columns
    and no objectness.

    The buffer `seen` counts the targets so far, including those of the current batch. It is int64, saved in the
    checkpoint, and summed over processes.

    Args:
        num_classes, background: see `ClassificationLoss`.
        p: exponent of the mitigation M, at least 0: the larger, the less negative gradient for classes that have
            occurred less often than the target. 0: off.
        q: exponent of the compensation C, at least 0: the larger, the more negative gradient for classes that score
            higher than the target. 0: off.
        epsilon: lower bound of sigma_i, the score of the target in C; above 0.

    Raises:
        LtDetError: p or q is below 0, or epsilon is not above 0.
    """

    default_classifier = "cosine"
    seen: Tensor

    def __init__(
        self,
        num_classes: int,
        *,
        background: bool = True,
        p: float = 0.8,
        q: float = 2.0,
        epsilon: float = 0.01,
    ) -> None:
        super().__init__(num_classes, background=background)
        if p < 0 or q < 0 or epsilon <= 0:
            raise LtDetError(
                f"SEESAW needs P and Q of at least 0 and EPSILON above 0, but they are {p}, {q}, {epsilon}."
            )
        self.p, self.q, self.epsilon = p, q, epsilon
        self.register_buffer("seen", torch.zeros(num_classes, dtype=torch.int64))

    @property
    def num_logits(self) -> int:
        return self.num_classes + (2 if self.background else 0)

    @property
    def family(self) -> str:
        return "softmax with objectness" if self.background else "softmax"

    def state_by_class(self) -> dict[str, Tensor]:
        return {"seen": self.seen}

    def row_losses(self, logits: Tensor, gt_classes: Tensor, features: Tensor | None) -> Tensor:
        foreground = (gt_classes < self.num_classes).nonzero().squeeze(1)
        labels = gt_classes[foreground]
        if self.training:
            # Unlike bincount, index_add does not wait for the GPU.
            batch = torch.zeros_like(self.seen).index_add_(0, labels, torch.ones_like(labels))
            self.seen += sum_over_processes(batch)
        classes = logits[foreground][:, : self.num_classes]
        rows = seesaw_loss(classes, labels, self.seen, p=self.p, q=self.q, epsilon=self.epsilon, reduction="none")
        if not self.background:
            return rows
        is_background = (gt_classes == self.num_classes).long()
        objectness = F.cross_entropy(logits[:, self.num_classes :], is_background, reduction="none")
        return objectness.index_add(0, foreground, rows)

    def scores(self, logits: Tensor) -> Tensor:
        logits = at_least_float32(logits)
        classes = logits[:, : self.num_classes].softmax(dim=1)
        if not self.background:
            return classes
        objectness = logits[:, self.num_classes :].softmax(dim=1)
        return torch.cat([classes * objectness[:, :1], objectness[:, 1:]], dim=1)
