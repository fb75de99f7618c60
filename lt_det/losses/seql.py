"""Softmax equalization loss (SEQL).

Tan et al., "Equalization Loss for Long-Tailed Object Recognition", CVPR 2020, section 3.4,
https://arxiv.org/abs/2003.05176. Checked against https://github.com/zhangyongshun/BagofTricks-LT.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from lt_det.errors import LtDetError
from lt_det.losses._remarks import tail_threshold
from lt_det.losses._rows import Reduction, checked, reduced
from lt_det.losses.class_weights import Counts
from lt_det.losses.eql import TAIL_IMAGES, tail_classes
from lt_det.losses.registry import register_loss
from lt_det.losses.softmax import SoftmaxFamily

if TYPE_CHECKING:
    from lt_det.statistics.class_stats import ClassStats


def sample_beta(rows: Tensor, is_tail: Tensor, gamma: float, dtype: torch.dtype = torch.float32) -> Tensor:
    """Sample beta E(r) T: in rows with E(r) and columns with T, True with probability gamma; elsewhere False.

    Args:
        rows: (N,) bool, E(r).
        is_tail: (C,) bool, T.
        gamma: probability that a tail class is ignored.
        dtype: type of the random numbers.

    Returns:
        (N, C) bool.
    """
    row_index, tail = rows.nonzero().squeeze(1), is_tail.nonzero().squeeze(1)
    drawn = torch.rand(len(row_index), len(tail), dtype=dtype, device=rows.device) < gamma
    beta = torch.zeros(len(rows), len(is_tail), dtype=torch.bool, device=rows.device)
    return beta.index_copy_(0, row_index, beta.new_zeros(len(row_index), len(is_tail)).index_copy_(1, tail, drawn))


def seql_loss(logits: Tensor, targets: Tensor, beta: Tensor, *, reduction: Reduction = "mean") -> Tensor:
    """L = -log(e^z_y / sum_k w_k e^z_k) with w_k = 1 - beta E(r) T_lambda(f_k) (1 - y_k).

    y_k is one-hot. Because w is 0 or 1, the loss is computed as a cross-entropy whose logits are minus infinity where w
    is 0. The exponentials of the formula would overflow in float32.

    Args:
        logits: (N, C) z.
        targets: (N,) y, int64 in 0..C-1; in a detector's box head C is K+1 and y = K is background.
        beta: (N, C) bool, the product beta E(r) T; see `sample_beta`.
        reduction: "none", "sum" or "mean".

    Returns:
        (N,) for "none", else a scalar.

    Raises:
        LtDetError: logits or targets have a wrong shape or type, or the reduction is unknown.
    """
    logits = checked(logits, targets)
    w_is_0 = beta.scatter(1, targets.unsqueeze(1), False)  # beta E(r) T (1 - y)
    return reduced(F.cross_entropy(logits.masked_fill(w_is_0, -torch.inf), targets, reduction="none"), reduction)


@register_loss("seql")
class SoftmaxEQLLoss(SoftmaxFamily):
    """Softmax equalization loss; see `seql_loss`.

    For every row and class, beta is 1 with probability gamma, else 0. E(r) is 0 for background rows, as in the
    detection form of the paper; otherwise nothing would suppress tail classes on background. T is the same as in
    `EQLLoss`, and background is never tail.

    Args:
        num_classes, background: see `ClassificationLoss`.
        image_counts, num_images, frequency_threshold: see `EQLLoss`.
        gamma: probability, 0 to 1, that a row of another class ignores a tail class; 0 is softmax cross-entropy.
        exempt_background: True: background rows never ignore a tail class. False: they do so like any other row, as in
            the paper's form for classification (E(r) is 1).

    Raises:
        LtDetError: gamma is outside [0, 1], there are not K counts, or lambda is outside [0, 1].
    """

    statistics = ("image_counts", "num_images")
    is_tail: Tensor

    def __init__(
        self,
        num_classes: int,
        *,
        background: bool = True,
        image_counts: Counts | None = None,
        num_images: int | None = None,
        frequency_threshold: float | None = None,
        gamma: float = 0.9,
        exempt_background: bool = True,
    ) -> None:
        super().__init__(num_classes, background=background)
        if not 0 <= gamma <= 1:
            raise LtDetError(f"SEQL.GAMMA is a probability, but is {gamma}; 0.9 is usual.")
        self.gamma, self.exempt_background, self.frequency_threshold = gamma, exempt_background, frequency_threshold
        counts = self.class_counts(None if num_images is None else image_counts)
        is_tail = tail_classes(counts, num_images or 1, frequency_threshold, "SEQL")
        self.register_buffer("is_tail", self.per_column(is_tail, False), persistent=False)

    def remark(self, stats: ClassStats) -> str:
        is_tail = self.is_tail[: self.num_classes]
        return tail_threshold("SEQL", is_tail, self.frequency_threshold, TAIL_IMAGES, stats)

    def row_losses(self, logits: Tensor, gt_classes: Tensor, features: Tensor | None) -> Tensor:
        E = gt_classes < self.num_classes if self.exempt_background else torch.ones_like(gt_classes, dtype=torch.bool)
        beta = sample_beta(E, self.is_tail, self.gamma, logits.dtype)
        return seql_loss(logits, gt_classes, beta, reduction="none")
