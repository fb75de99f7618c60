"""Equalization loss v2 (EQLv2).

Tan et al., "Equalization Loss v2: A New Gradient Balance Approach for Long-tailed Object Detection", CVPR 2021,
https://arxiv.org/abs/2012.08548. Checked against https://github.com/tztztztztz/eqlv2.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lt_det.errors import LtDetError
from lt_det.losses._all_reduce import sum_over_processes
from lt_det.losses._fused_sigmoid import fused_rows, is_faster
from lt_det.losses._rows import Reduction, at_least_float32, checked, one_hot, reduced
from lt_det.losses.registry import register_loss
from lt_det.losses.sigmoid import SigmoidFamily

# The ratio before the first batch: so large that all weights start at 1.
_RATIO_AT_START = 100.0


def eqlv2_weights(gradient_ratio: Tensor, gamma: float, mu: float, alpha: float) -> tuple[Tensor, Tensor]:
    """Positive weights q_j = 1 + alpha (1 - f(g_j)) and negative weights r_j = f(g_j), f(x) = sigmoid(gamma (x - mu)).

    Args:
        gradient_ratio: (K,) g, positive divided by negative gradient of each class (eq. 6 to 9).
        gamma: steepness of f, the sigmoid that turns the ratio g of positive to negative gradient into a weight; at
            least 0.
        mu: ratio g at which f is one half.
        alpha: largest extra weight of positives, at least 0.

    Returns:
        (K,) q and (K,) r.
    """
    f = torch.sigmoid(gamma * (gradient_ratio - mu))
    return 1 + alpha * (1 - f), f


def eqlv2_loss(
    logits: Tensor, targets: Tensor, positive: Tensor, negative: Tensor, *, reduction: Reduction = "mean"
) -> Tensor:
    """L = sum_j w_j BCE(z_j, y_j) with w_j = q_j y_j + r_j (1 - y_j).

    Args:
        logits: (N, C) z; in a detector's box head C is K+1, and column K, background, has q = r = 1.
        targets: (N,) int64 in 0..C-1; y is one-hot.
        positive: (C,) q; see `eqlv2_weights`.
        negative: (C,) r.
        reduction: "none", "sum" or "mean".

    Returns:
        (N,) for "none", else a scalar.

    Raises:
        LtDetError: logits or targets have a wrong shape or type, or the reduction is unknown.
    """
    logits = checked(logits, targets)
    q, r = positive.to(logits.dtype), negative.to(logits.dtype)
    if is_faster(logits):  # the same numbers
        return reduced(fused_rows(logits, targets, foreground=r, background=r, positive=q), reduction)
    y = one_hot(targets, logits)
    w = q * y + r * (1 - y)
    return reduced((w * F.binary_cross_entropy_with_logits(logits, y, reduction="none")).sum(dim=1), reduction)


@register_loss("eqlv2")
class EQLv2Loss(SigmoidFamily):
    """Equalization loss v2; see `eqlv2_loss`. The score of class k is sigmoid(z_k) (1 - sigmoid(z_background)).

    Two buffers sum the positive and the negative gradient that each class has received so far; g is their ratio. They
    are saved in the checkpoint and summed over processes.

    Args:
        num_classes, background: see `ClassificationLoss`; without background there is no background column.
        gamma, mu, alpha: see `eqlv2_weights`.
        prior_prob: initial probability of every column, including background; between 0 and 1.

    Raises:
        LtDetError: gamma or alpha is below 0, or prior_prob is outside (0, 1).
    """

    positive_gradient: Tensor
    negative_gradient: Tensor

    def __init__(
        self,
        num_classes: int,
        *,
        background: bool = True,
        gamma: float = 12.0,
        mu: float = 0.8,
        alpha: float = 4.0,
        prior_prob: float = 0.001,
    ) -> None:
        super().__init__(num_classes, background=background, prior_prob=prior_prob)
        if gamma < 0 or alpha < 0:
            raise LtDetError(f"EQLV2.GAMMA and EQLV2.ALPHA must be at least 0, but are {gamma} and {alpha}.")
        self.gamma, self.mu, self.alpha = gamma, mu, alpha
        self.register_buffer("positive_gradient", torch.zeros(num_classes))
        self.register_buffer("negative_gradient", torch.zeros(num_classes))

    @property
    def gradient_ratio(self) -> Tensor:
        """(K,) g, positive divided by negative gradient so far; 100 for a class without any gradient."""
        seen = self.positive_gradient + self.negative_gradient > 0
        ratio = self.positive_gradient / (self.negative_gradient + 1e-10)
        return torch.where(seen, ratio, _RATIO_AT_START)

    def state_by_class(self) -> dict[str, Tensor]:
        """The ratio g, as the EQL papers plot it: below 1 a class receives more negative than positive gradient."""
        ratio = self.gradient_ratio
        return {"gradient_ratio": ratio.masked_fill(self.positive_gradient + self.negative_gradient == 0, torch.nan)}

    def row_losses(self, logits: Tensor, gt_classes: Tensor, features: Tensor | None) -> Tensor:
        positive, negative = eqlv2_weights(self.gradient_ratio, self.gamma, self.mu, self.alpha)
        positive, negative = self.per_column(positive, 1.0), self.per_column(negative, 1.0)
        rows = eqlv2_loss(logits, gt_classes, positive, negative, reduction="none")
        if self.training:
            self._accumulate(logits, gt_classes, positive, negative)
        return rows

    @torch.no_grad()
    def _accumulate(self, logits: Tensor, gt_classes: Tensor, positive: Tensor, negative: Tensor) -> None:
        """Add this batch's |dL/dz_j|, before the division by N: q_j (1 - p_j) as positive, r_j p_j as negative.

        A batch with a NaN does not count: the sums would stay NaN, also where the training skips the step, as mixed
        precision does.
        """
        p = logits.sigmoid()
        p_y = p.gather(1, gt_classes.unsqueeze(1)).squeeze(1)
        zeros = p.new_zeros(p.shape[1])
        own = zeros.index_add(0, gt_classes, 1 - p_y)
        others = p.sum(dim=0) - zeros.index_add(0, gt_classes, p_y)
        both = torch.stack([positive * own, negative * others])[:, : self.num_classes].nan_to_num(nan=0.0)
        both = sum_over_processes(both.to(self.positive_gradient.dtype).contiguous())
        self.positive_gradient += both[0]
        self.negative_gradient += both[1]

    def scores(self, logits: Tensor) -> Tensor:
        probabilities = at_least_float32(logits).sigmoid()
        if not self.background:
            return probabilities
        background = probabilities[:, -1:]
        return torch.cat([probabilities[:, :-1] * (1 - background), background], dim=1)

    def predicted_classes(self, logits: Tensor) -> Tensor:
        return self.scores(logits).argmax(dim=1)

    def initial_bias(self) -> Tensor:
        return super().initial_bias()[:1].expand(self.num_logits)
