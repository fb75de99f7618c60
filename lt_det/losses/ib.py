"""Influence-balanced loss (IB).

Park et al., "Influence-Balanced Loss for Imbalanced Visual Classification", ICCV 2021,
https://arxiv.org/abs/2110.02444. Checked against https://github.com/pseulki/IB-Loss.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from lt_det.errors import LtDetError
from lt_det.losses._all_reduce import sum_over_processes
from lt_det.losses.base import at_least_float32, divide_by_rois
from lt_det.losses.class_weights import Counts, MeanOver, with_background, with_mean_one
from lt_det.losses.registry import register_loss
from lt_det.losses.softmax import SoftmaxLoss

_MOMENTUM = 0.99  # of the running means: about the last hundred iterations


def influence(cross_entropy: Tensor, features: Tensor) -> Tensor:
    """|| softmax(z) - t ||_1 || h ||_1: the influence of a sample on the last layer (eq. 8), per row.

    The first norm is 2 (1 - p_y), so the cross-entropy -log p_y has it all.

    Args:
        cross_entropy: (N,).
        features: (N, D), the last layer's input h.
    """
    return -2 * torch.expm1(-cross_entropy) * features.abs().sum(dim=1)


@register_loss("ib")
class InfluenceBalanced(SoftmaxLoss):
    """Phase 1: softmax cross-entropy. From `start` on: L = (1/N) sum_i lambda_{y_i} CE_i alpha / (influence_i + eps).

    lambda_k is proportional to 1/n_k with mean 1 over the foreground classes; lambda_background = 1 (a true 1/n would
    delete background). With `focal_gamma` the weighted cross-entropy c = lambda CE becomes (1 - e^-c)^gamma c first.

    As in the authors' code, and unlike the paper's word "weight", the factor is part of what is differentiated.

    Args:
        num_classes: K.
        instance_counts: K training instances per class; None for a model that only predicts.
        start: share of the training after which phase 2 begins; the authors' 100 of 200 epochs are 0.5.
        alpha: scales the loss of phase 2. None or "auto" measures it in phase 1, so that the value of the loss stays
            where it was: the mean of CE over that of lambda CE / (influence + eps), both running. The authors' 1000
            suits their features, not a detector's.
        epsilon: keeps the factor finite.
        mean_over: lambda has mean 1 over "classes" (the authors' scale) or over training "instances"; see
            `ClassBalanced`.
        focal_gamma: None for plain cross-entropy; the authors' focal variant has 1.
        detach_factor: True holds the whole factor constant; gradients of hard and easy samples then differ far more.
        detach_features: True stops the gradient into the features, which box regression shares.

    Raises:
        LtDetError: start outside [0, 1], unknown mean_over, alpha or epsilon of 0 or below, counts that do not fit, no
            features.
    """

    uses_features = True
    takes_reweighting = False  # it weighs by class itself
    statistics = ("instance_counts",)
    class_weight: Tensor
    phase1_means: Tensor

    def __init__(
        self,
        num_classes: int,
        *,
        instance_counts: Counts | None = None,
        start: float = 0.5,
        alpha: float | Literal["auto"] | None = None,
        epsilon: float = 1e-3,
        mean_over: MeanOver = "classes",
        focal_gamma: float | None = None,
        detach_factor: bool = False,
        detach_features: bool = True,
    ) -> None:
        super().__init__(num_classes)
        if not 0 <= start <= 1:
            raise LtDetError(f"IB.START is a share of the training between 0 and 1, but is {start}; 0.5 is usual.")
        if alpha == "auto":
            alpha = None
        if isinstance(alpha, str) or (alpha is not None and alpha <= 0) or epsilon <= 0:
            raise LtDetError(f"IB.ALPHA and IB.EPSILON must be above 0, but are {alpha} and {epsilon}.")
        if alpha is None and start == 0:
            raise LtDetError("IB.ALPHA is measured in phase 1, but IB.START is 0; set IB.ALPHA or a later start.")
        if focal_gamma is not None and focal_gamma < 0:
            raise LtDetError(f"IB.FOCAL_GAMMA must be at least 0, but is {focal_gamma}; 1 is usual, None is off.")
        self.start, self.alpha, self.epsilon, self.focal_gamma = start, alpha, epsilon, focal_gamma
        self.detach_factor, self.detach_features = detach_factor, detach_features
        counts = self.class_counts(instance_counts)
        weight = with_mean_one(1 / counts, counts, mean_over, "IB")
        self.register_buffer("class_weight", with_background(weight, 1.0), persistent=False)
        # Running means of phase 1 over all processes: of CE, and of lambda CE / (influence + eps).
        self.register_buffer("phase1_means", torch.zeros(2))

    @property
    def scale(self) -> Tensor | float:
        """alpha, given or measured; nan before the first iteration."""
        return self.phase1_means[0] / self.phase1_means[1] if self.alpha is None else self.alpha

    def state_by_class(self) -> dict[str, Tensor]:
        return {"alpha": torch.as_tensor(self.scale)}

    def forward(self, logits: Tensor, gt_classes: Tensor, features: Tensor | None = None) -> Tensor:
        if features is None:
            raise LtDetError("IB needs the classifier's input; call the loss with features, as LongTailPredictor does.")
        logits, features = self.checked_logits(logits), at_least_float32(features)
        rows = F.cross_entropy(logits, gt_classes, reduction="none")
        if self.has_reached(self.start):
            if self.alpha is None and not self.phase1_means.any():
                raise LtDetError(
                    "IB's phase 2 begins without a phase 1 in which IB.ALPHA was measured; set IB.ALPHA, or go on from "
                    "a checkpoint of phase 1 with --resume."
                )
            rows = self.scale * self._balanced(rows, gt_classes, features)
        elif self.training and self.alpha is None:
            self._measure(rows, gt_classes, features)
        return divide_by_rois(rows.sum(), len(gt_classes))

    def _balanced(self, rows: Tensor, gt_classes: Tensor, features: Tensor) -> Tensor:
        """(N,) lambda CE / (influence + eps)."""
        features = features.detach() if self.detach_features else features
        factor = 1 / (influence(rows, features) + self.epsilon)
        rows = rows * self.class_weight.to(rows.dtype)[gt_classes]
        if self.focal_gamma is not None:
            # e^-c is the probability only without weights; so it stands in the authors' code. In logarithms, because
            # the power of 0 has an infinite slope for gamma below 1.
            tiny = torch.finfo(rows.dtype).tiny
            rows = rows * torch.exp(self.focal_gamma * torch.log(-torch.expm1(-rows.clamp(min=tiny))))
        return rows * (factor.detach() if self.detach_factor else factor)

    @torch.no_grad()
    def _measure(self, rows: Tensor, gt_classes: Tensor, features: Tensor) -> None:
        balanced = self._balanced(rows, gt_classes, features)
        count = rows.new_tensor(float(len(rows)))
        # Also with no RoI here: the other processes wait for this one.
        sums = sum_over_processes(torch.stack([rows.sum(), balanced.sum(), count])).to(self.phase1_means.dtype)
        if sums[2] > 0:
            momentum = _MOMENTUM if self.phase1_means.any() else 0.0
            self.phase1_means.mul_(momentum).add_(sums[:2] / sums[2], alpha=1 - momentum)
