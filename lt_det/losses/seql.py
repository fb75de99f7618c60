"""Softmax equalization loss (SEQL).

Tan et al., "Equalization Loss for Long-Tailed Object Recognition", CVPR 2020, section 3.4,
https://arxiv.org/abs/2003.05176. Checked against https://github.com/zhangyongshun/BagofTricks-LT.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lt_det.errors import LtDetError
from lt_det.losses._fused.affine_softmax import affine_cross_entropy
from lt_det.losses.class_weights import Counts
from lt_det.losses.eql import tail_classes
from lt_det.losses.registry import register_loss
from lt_det.losses.softmax import SoftmaxLoss

# Added to a logit to ignore it: its exponential is exactly 0 beside any logit a network gives.
_IGNORE = -1e30


def equalized_cross_entropy(logits: Tensor, gt_classes: Tensor, rows: Tensor, ignored: Tensor) -> Tensor:
    """-log(e^z_y / sum_k w_k e^z_k) with w = 0 where `ignored`, 1 elsewhere and at the target, per row.

    Written as cross-entropy of shifted logits: the authors' exponentials overflow in float32.

    Args:
        logits: (N, C).
        gt_classes: (N,).
        rows: (n,) the rows in which anything is ignored.
        ignored: (n, C) 1 or 0 in these rows; overwritten.

    Returns:
        (N,).
    """
    ignored.scatter_(1, gt_classes[rows].unsqueeze(1), 0)
    return affine_cross_entropy(logits, gt_classes, row_shift=(rows, ignored.mul_(_IGNORE)))


@register_loss("seql")
class SoftmaxEQL(SoftmaxLoss):
    """L = (1/N) sum_i -log(e^z_y / sum_k w_ik e^z_k), w_ik = 1 - beta_ik E(i) F(k) (1 - t_ik).

    beta is drawn for every RoI and class, 1 with probability gamma. E exempts background RoIs, as in the detection
    form of the paper: without it nothing keeps tail classes from firing on background. F as in `EQL`; never
    background.

    Args:
        num_classes: K.
        image_counts, num_images, frequency_threshold: see `EQL`.
        gamma: probability of ignoring a tail class on another class's RoI; 0 is plain softmax cross-entropy.

    Raises:
        LtDetError: gamma outside [0, 1]; see also `EQL`.
    """

    statistics = ("image_counts", "num_images")
    tail: Tensor

    def __init__(
        self,
        num_classes: int,
        *,
        image_counts: Counts | None = None,
        num_images: int | None = None,
        frequency_threshold: float | None = None,
        gamma: float = 0.9,
    ) -> None:
        super().__init__(num_classes)
        if not 0 <= gamma <= 1:
            raise LtDetError(f"SEQL.GAMMA is a probability, but is {gamma}; 0.9 is usual.")
        self.gamma = gamma
        counts = self.class_counts(None if num_images is None else image_counts)
        is_tail = tail_classes(counts, num_images or 1, frequency_threshold, "SEQL")
        self.register_buffer("tail", is_tail.nonzero().squeeze(1), persistent=False)  # (T,) class ids

    def forward(self, logits: Tensor, gt_classes: Tensor, features: Tensor | None = None) -> Tensor:
        logits = self.checked_logits(logits)
        foreground = (gt_classes < self.num_classes).nonzero().squeeze(1)
        drawn = torch.rand(len(foreground), len(self.tail), dtype=logits.dtype, device=logits.device).lt_(self.gamma)
        ignored = logits.new_zeros(len(foreground), self.num_logits).index_copy_(1, self.tail, drawn)
        rows = equalized_cross_entropy(logits, gt_classes, foreground, ignored)
        return self.mean_of_rows(rows, gt_classes)
