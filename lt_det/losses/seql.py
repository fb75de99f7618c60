"""Softmax equalization loss (SEQL).

Tan et al., "Equalization Loss for Long-Tailed Object Recognition", CVPR 2020, section 3.4,
https://arxiv.org/abs/2003.05176. Checked against https://github.com/zhangyongshun/BagofTricks-LT.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lt_det.errors import LtDetError
from lt_det.losses.base import at_least_float32
from lt_det.losses.class_weights import Counts
from lt_det.losses.eql import tail_classes
from lt_det.losses.registry import register_loss
from lt_det.losses.softmax import SoftmaxLoss


def equalized_cross_entropy(logits: Tensor, gt_classes: Tensor, ignored: Tensor) -> Tensor:
    """-log(e^z_y / sum_k w_k e^z_k) with w = 0 where `ignored`, 1 elsewhere and at the target, per row.

    Written as cross-entropy with the ignored logits at minus infinity: the authors' form overflows in float32.

    Args:
        logits: (N, C).
        gt_classes: (N,).
        ignored: (N, C) bool.

    Returns:
        (N,).
    """
    ignored = ignored & ~F.one_hot(gt_classes, logits.shape[1]).bool()
    return F.cross_entropy(logits.masked_fill(ignored, -math.inf), gt_classes, reduction="none")


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
    is_tail: Tensor

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
        background = torch.zeros(1, dtype=torch.bool)
        self.register_buffer("is_tail", torch.cat([is_tail, background]), persistent=False)

    def forward(self, logits: Tensor, gt_classes: Tensor, features: Tensor | None = None) -> Tensor:
        self.require_statistics()
        logits = at_least_float32(logits)
        rows = F.cross_entropy(logits, gt_classes, reduction="none")
        foreground = (gt_classes < self.num_classes).nonzero().squeeze(1)
        if self.gamma > 0 and len(foreground) and self.is_tail.any():  # only these rows and columns need a draw
            chosen = logits[foreground]
            ignored = torch.rand(chosen.shape, device=logits.device).lt_(self.gamma).bool() & self.is_tail
            equalized = equalized_cross_entropy(chosen, gt_classes[foreground], ignored)
            rows = rows.index_copy(0, foreground, equalized)
        return self.mean_of_rows(rows, gt_classes)
