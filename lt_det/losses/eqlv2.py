"""Equalization loss v2 (EQLv2).

Tan et al., "Equalization Loss v2: A New Gradient Balance Approach for Long-tailed Object Detection", CVPR 2021,
https://arxiv.org/abs/2012.08548. Checked against https://github.com/tztztztztz/eqlv2.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lt_det.errors import LtDetError
from lt_det.losses._all_reduce import sum_over_processes
from lt_det.losses._fused.weighted_sigmoid import weighted_sigmoid_cross_entropy
from lt_det.losses.base import at_least_float32, divide_by_rois
from lt_det.losses.registry import register_loss
from lt_det.losses.sigmoid import SigmoidLoss

# The ratio before the first batch: large, so that all weights start at 1.
_RATIO_AT_START = 100.0


@register_loss("eqlv2")
class EQLv2(SigmoidLoss):
    """L = (1/N) sum_i sum_k w_ik BCE(z_ik, t_ik) over K+1 columns, the last being background against everything.

    r_k is the ratio of the gradients that class k received so far as positive and as negative. With
    q_k = sigmoid(gamma (r_k - mu)), negatives weigh q_k and positives 1 + alpha (1 - q_k) (eq. 6 to 9). Background
    weighs 1. A score is sigmoid(z_k) (1 - sigmoid(z_background)).

    The sums are buffers: saved, resumed, and summed over processes.

    Args:
        num_classes: K.
        gamma, mu, alpha: of the paper.
        prior_prob: starting probability of every column, background too.

    Raises:
        LtDetError: gamma or alpha below 0.
    """

    positive_gradient: Tensor
    negative_gradient: Tensor

    def __init__(
        self,
        num_classes: int,
        *,
        gamma: float = 12.0,
        mu: float = 0.8,
        alpha: float = 4.0,
        prior_prob: float = 0.001,
    ) -> None:
        super().__init__(num_classes, prior_prob=prior_prob)
        if gamma < 0 or alpha < 0:
            raise LtDetError(f"EQLV2.GAMMA and EQLV2.ALPHA must be at least 0, but are {gamma} and {alpha}.")
        self.gamma, self.mu, self.alpha = gamma, mu, alpha
        self.register_buffer("positive_gradient", torch.zeros(num_classes))
        self.register_buffer("negative_gradient", torch.zeros(num_classes))

    @property
    def gradient_ratio(self) -> Tensor:
        """(K,) r = positive / negative gradient so far."""
        seen = self.positive_gradient + self.negative_gradient > 0
        ratio = self.positive_gradient / (self.negative_gradient + 1e-10)
        return torch.where(seen, ratio, _RATIO_AT_START)

    def state_by_class(self) -> dict[str, Tensor]:
        """The EQL papers' picture: a ratio below 1 says that a class is mostly pushed down."""
        ratio = self.gradient_ratio
        return {"gradient_ratio": ratio.masked_fill(self.positive_gradient + self.negative_gradient == 0, torch.nan)}

    def forward(self, logits: Tensor, gt_classes: Tensor, features: Tensor | None = None) -> Tensor:
        logits = self.checked_logits(logits)
        q = torch.sigmoid(self.gamma * (self.gradient_ratio - self.mu)).to(logits.dtype)
        one = q.new_ones(1)
        negative, positive = torch.cat([q, one]), torch.cat([1 + self.alpha * (1 - q), one])
        total, gradient = weighted_sigmoid_cross_entropy(
            logits,
            gt_classes,
            columns=self.num_logits,
            foreground=negative,
            background=negative,
            positive=positive,
        )
        if self.training:
            self._collect(gradient, gt_classes)
        return divide_by_rois(total, len(gt_classes))

    @torch.no_grad()
    def _collect(self, gradient: Tensor, gt_classes: Tensor) -> None:
        """Add this batch's weighted gradients |dL/dz|, before the division by N."""
        own = gradient.gather(1, gt_classes.unsqueeze(1)).squeeze(1)  # all below 0; the other gradients are above
        positive = gradient.new_zeros(self.num_logits).index_add_(0, gt_classes, -own)
        negative = gradient.sum(dim=0) + positive
        both = sum_over_processes(torch.stack([positive, negative])[:, : self.num_classes].contiguous())
        self.positive_gradient += both[0]
        self.negative_gradient += both[1]

    def scores(self, logits: Tensor) -> Tensor:
        probabilities = at_least_float32(logits).sigmoid()
        background = probabilities[:, -1:]
        return torch.cat([probabilities[:, :-1] * (1 - background), background], dim=1)

    def predicted_classes(self, logits: Tensor) -> Tensor:
        return self.scores(logits).argmax(dim=1)

    def initial_bias(self) -> Tensor:
        return super().initial_bias()[:1].expand(self.num_logits)
