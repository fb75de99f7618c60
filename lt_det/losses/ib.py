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
from lt_det.losses._rows import Reduction, at_least_float32, checked, reduced
from lt_det.losses.class_weights import Counts, MeanOver, with_mean_one
from lt_det.losses.registry import register_loss
from lt_det.losses.softmax import SoftmaxFamily
from lt_det.numbers import is_number

_MOMENTUM = 0.99  # of the running means, which cover about the last hundred iterations


def influence(cross_entropy: Tensor, features: Tensor) -> Tensor:
    """IB = || softmax(z) - y ||_1 || h ||_1, the influence of a row on the last layer (eq. 8).

    The first norm is 2 (1 - p_y), and p_y = e^-CE.

    Args:
        cross_entropy: (N,) CE(z, y).
        features: (N, D) h, the input of the last layer.

    Returns:
        (N,) IB.
    """
    return -2 * torch.expm1(-cross_entropy) * features.abs().sum(dim=1)


def ib_loss(
    logits: Tensor,
    targets: Tensor,
    features: Tensor,
    class_weight: Tensor,
    *,
    alpha: Tensor | float = 1000.0,
    epsilon: float = 1e-3,
    focal_gamma: float | None = None,
    detach_factor: bool = False,
    detach_features: bool = True,
    reduction: Reduction = "mean",
) -> Tensor:
    """L = alpha lambda_y CE(z, y) / (|| softmax(z) - y ||_1 || h ||_1 + epsilon).

    y is one-hot inside the norm. As in the authors' code, the gradient also flows through the factor
    1 / (influence + epsilon), although the paper calls it a weight.

    Args:
        logits: (N, C) z.
        targets: (N,) y, int64 in 0..C-1; in a detector's box head C is K+1 and y = K is background.
        features: (N, D) h, the input of the last layer.
        class_weight: (C,) lambda, proportional to 1/n; 1 for background.
        alpha: scale of the loss; 1000 in the authors' code.
        epsilon: keeps the factor 1 / (influence + epsilon) finite; above 0.
        focal_gamma: a number of at least 0 replaces c = lambda CE by (1 - e^-c)^focal_gamma c, the authors' focal
            variant; None for the plain form.
        detach_factor: True treats the factor 1 / (influence + epsilon) as a constant: no gradient flows through it.
        detach_features: True lets no gradient flow through the features h in the factor.
        reduction: "none", "sum" or "mean".

    Returns:
        (N,) for "none", else a scalar.

    Raises:
        LtDetError: logits or targets have a wrong shape or type, or the reduction is unknown.
    """
    logits, features = checked(logits, targets), at_least_float32(features)
    cross_entropy = F.cross_entropy(logits, targets, reduction="none")
    factor = 1 / (influence(cross_entropy, features.detach() if detach_features else features) + epsilon)
    rows = cross_entropy * class_weight.to(logits.dtype)[targets]
    if focal_gamma is not None:
        # As in the authors' code, although e^-c is the probability only without weights. Computed with logarithms,
        # because a power of 0 has an infinite slope for gamma below 1.
        tiny = torch.finfo(rows.dtype).tiny
        rows = rows * torch.exp(focal_gamma * torch.log(-torch.expm1(-rows.clamp(min=tiny))))
    return reduced(alpha * (rows * (factor.detach() if detach_factor else factor)), reduction)


@register_loss("ib")
class IBLoss(SoftmaxFamily):
    """Influence-balanced loss. Phase 1 is softmax cross-entropy; phase 2, from `start` on, is `ib_loss`.

    lambda has mean 1 over the foreground classes and is 1 for background. (With 1/n for background, too, the loss of
    background rows would almost vanish.)

    Args:
        num_classes, background: see `ClassificationLoss`.
        instance_counts: K training instances per class; None for a model that only predicts.
        start: fraction of the training after which phase 2 begins, 0 to 1; 0.5 for the authors' 100 of 200 epochs.
        alpha: scale of the loss in phase 2, above 0. None or "auto" measures it in phase 1, so that the value of the
            loss does not change when phase 2 begins: the running mean of CE divided by the running mean of
            lambda CE / (influence + epsilon). The authors' 1000 suits their features, not those of a detector.
        epsilon, focal_gamma, detach_factor: see `ib_loss`.
        mean_over: the class weights lambda have mean 1 over the "classes", as in the authors' code, or over the
            training "instances", which a detector needs.
        detach_features: see `ib_loss`. Box regression uses the same features.

    Raises:
        LtDetError: start is outside [0, 1], mean_over is unknown, alpha or epsilon is not above 0, focal_gamma is below
            0, alpha is to be measured although start is 0, or the counts are invalid. `forward` raises it without
            features.
    """

    uses_features = True
    statistics = ("instance_counts",)
    class_weight: Tensor
    phase1_means: Tensor

    def __init__(
        self,
        num_classes: int,
        *,
        background: bool = True,
        instance_counts: Counts | None = None,
        start: float = 0.5,
        alpha: float | Literal["auto"] | None = None,
        epsilon: float = 1e-3,
        mean_over: MeanOver = "classes",
        focal_gamma: float | None = None,
        detach_factor: bool = False,
        detach_features: bool = True,
    ) -> None:
        super().__init__(num_classes, background=background)
        if not 0 <= start <= 1:
            raise LtDetError(f"IB.START is a fraction of the training between 0 and 1, but is {start}; 0.5 is usual.")
        if alpha == "auto":
            alpha = None
        if alpha is not None and not (is_number(alpha) and alpha > 0):
            raise LtDetError(f"IB.ALPHA is {alpha!r}; write a number above 0, or auto, which measures it in phase 1.")
        if epsilon <= 0:
            raise LtDetError(f"IB.EPSILON must be above 0, but is {epsilon}; 0.001 is usual.")
        if alpha is None and start == 0:
            raise LtDetError("IB.ALPHA is measured in phase 1, but IB.START is 0; set IB.ALPHA or a later start.")
        if focal_gamma is not None and not (is_number(focal_gamma) and focal_gamma >= 0):
            raise LtDetError(f"IB.FOCAL_GAMMA is {focal_gamma!r}; write a number of at least 0, or None for none.")
        self.start, self.alpha, self.epsilon, self.focal_gamma = start, alpha, epsilon, focal_gamma
        self.detach_factor, self.detach_features = detach_factor, detach_features
        counts = self.class_counts(instance_counts)
        weight = with_mean_one(1 / counts, counts, mean_over, "IB")
        self.register_buffer("class_weight", self.per_column(weight, 1.0), persistent=False)
        # Running means over all processes in phase 1: CE, and lambda CE / (influence + epsilon).
        self.register_buffer("phase1_means", torch.zeros(2))
        self._is_measured = False

    @property
    def scale(self) -> Tensor | float:
        """alpha as given, or as measured so far; nan before the first iteration."""
        return self.phase1_means[0] / self.phase1_means[1] if self.alpha is None else self.alpha

    def state_by_class(self) -> dict[str, Tensor]:
        return {"alpha": torch.as_tensor(self.scale)}

    def row_losses(self, logits: Tensor, gt_classes: Tensor, features: Tensor | None) -> Tensor:
        if features is None:
            raise LtDetError("IB needs the classifier's input; call the loss with features, as LongTailPredictor does.")
        if features.dim() != 2 or len(features) != len(logits):
            raise LtDetError(
                f"IB needs features of shape ({len(logits)}, D), a row for each row of logits, but got "
                f"{tuple(features.shape)}."
            )
        if self.has_reached(self.start):
            if self.alpha is None and not self._is_measured:
                self._is_measured = bool(self.phase1_means.any())  # once: it waits for the GPU
            if self.alpha is None and not self._is_measured:
                raise LtDetError(
                    "IB's phase 2 begins without a phase 1 in which IB.ALPHA was measured; set IB.ALPHA, or resume "
                    "from a checkpoint of phase 1 with --resume."
                )
            return self._balanced(logits, gt_classes, features, self.scale)
        rows = F.cross_entropy(logits, gt_classes, reduction="none")
        if self.training and self.alpha is None:
            self._measure(rows, logits, gt_classes, features)
        return rows

    def _balanced(self, logits: Tensor, gt_classes: Tensor, features: Tensor, alpha: Tensor | float) -> Tensor:
        return ib_loss(
            logits,
            gt_classes,
            features,
            self.class_weight,
            alpha=alpha,
            epsilon=self.epsilon,
            focal_gamma=self.focal_gamma,
            detach_factor=self.detach_factor,
            detach_features=self.detach_features,
            reduction="none",
        )

    @torch.no_grad()
    def _measure(self, rows: Tensor, logits: Tensor, gt_classes: Tensor, features: Tensor) -> None:
        balanced = self._balanced(logits, gt_classes, features, 1.0)
        count = rows.new_full((), len(rows))
        sums = torch.stack([rows.sum(), balanced.sum(), count])
        # A process whose batch has a NaN counts no rows, because the means would stay NaN. One without rows takes part,
        # because the other processes wait for it.
        sums = sum_over_processes(torch.where(sums.isfinite().all(), sums, 0.0)).to(self.phase1_means.dtype)
        means = sums[:2] / sums[2]
        running = (self.phase1_means * _MOMENTUM).add_(means, alpha=1 - _MOMENTUM)
        updated = torch.where(self.phase1_means.any(), running, means)
        self.phase1_means.copy_(torch.where(sums[2] > 0, updated, self.phase1_means))
