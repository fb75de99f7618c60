"""Label smoothing.

Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", section 7, https://arxiv.org/abs/1512.00567.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lt_det.errors import LtDetError
from lt_det.losses._rows import Reduction, checked, reduced
from lt_det.losses.base import ClassificationLoss
from lt_det.losses.class_weights import Counts
from lt_det.losses.registry import register_loss
from lt_det.losses.softmax import SoftmaxFamily

if TYPE_CHECKING:
    from lt_det.statistics.class_stats import ClassStats

PRIORS = ("uniform", "frequency")


def label_smoothing_loss(
    logits: Tensor,
    targets: Tensor,
    smoothing: float | Tensor = 0.1,
    prior: Tensor | None = None,
    *,
    reduction: Reduction = "mean",
) -> Tensor:
    """L = -sum_k q_k log softmax(z)_k with q = (1 - epsilon) one_hot(y) + epsilon u.

    Args:
        logits: (N, C) z.
        targets: (N,) y, int64 in 0..C-1; in a detector's box head C is K+1 and y = K is background.
        smoothing: epsilon, a number or one per row, (N,).
        prior: (C,) u, probabilities; None for uniform.
        reduction: "none", "sum" or "mean".

    Returns:
        (N,) for "none", else a scalar.

    Raises:
        LtDetError: logits or targets have a wrong shape or type, or the reduction is unknown.
    """
    logits = checked(logits, targets)
    log_p = logits.log_softmax(dim=1)
    hard = -log_p.gather(1, targets.unsqueeze(1)).squeeze(1)
    soft = -(log_p.mean(dim=1) if prior is None else (log_p * prior.to(logits.dtype)).sum(dim=1))
    return reduced((1 - smoothing) * hard + smoothing * soft, reduction)


@register_loss("label_smoothing")
class LabelSmoothingLoss(SoftmaxFamily):
    """Label smoothing over K+1 columns, of which background is one; see `label_smoothing_loss`.

    Args:
        num_classes, background: see `ClassificationLoss`.
        instance_counts: K training instances per class; needed only for the prior "frequency".
        smoothing: epsilon, the fraction of the target that the prior gets; at least 0 and below 1.
        prior: the distribution u: "uniform"; "frequency", proportional to the training instances of the foreground
            classes, and 1 / (K+1) for background; or one probability per column, background last, which a yaml config
            names as a json file.
        smooth_background: False gives background rows hard targets. With True and a uniform prior, the target of every
            background row gives each foreground class epsilon / (K+1). This is a lower bound that the scores approach;
            for small K it is above the score threshold of the LVIS configs.

    Raises:
        LtDetError: epsilon is outside [0, 1), the prior is unknown, or its numbers are no probabilities.
    """

    statistics = ("instance_counts",)
    prior: Tensor

    def __init__(
        self,
        num_classes: int,
        *,
        background: bool = True,
        instance_counts: Counts | None = None,
        smoothing: float = 0.1,
        prior: str | Sequence[float] = "uniform",
        smooth_background: bool = True,
    ) -> None:
        super().__init__(num_classes, background=background)
        if not 0 <= smoothing < 1:
            raise LtDetError(f"LABEL_SMOOTHING.SMOOTHING must lie in [0, 1), but is {smoothing}; 0.1 is usual.")
        self.smoothing = smoothing
        self.smooth_background = smooth_background
        self.uses_frequencies = prior == "frequency"
        self.register_buffer("prior", self._distribution(prior, instance_counts), persistent=False)

    def _distribution(self, prior: str | Sequence[float], instance_counts: Counts | None) -> Tensor:
        """(num_logits,) u."""
        columns = self.num_logits
        if prior == "uniform":
            return torch.full((columns,), 1.0 / columns, dtype=torch.float64)
        if prior == "frequency":
            counts = self.class_counts(instance_counts)
            foreground = self.num_classes / columns
            return self.per_column(foreground * counts / counts.sum(), 1.0 / columns)
        if isinstance(prior, str):
            raise LtDetError(f"LABEL_SMOOTHING.PRIOR is '{prior}'; write uniform, frequency, or one number per class.")
        distribution = torch.as_tensor(prior, dtype=torch.float64)
        fits = distribution.shape == (columns,) and bool((distribution >= 0).all())
        if not fits or abs(float(distribution.sum()) - 1) > 1e-6:
            raise LtDetError(
                f"LABEL_SMOOTHING.PRIOR needs {columns} probabilities that add up to 1, one per class, "
                f"background last, but got {len(distribution)} that add up to {float(distribution.sum()):g}."
            )
        return distribution

    @classmethod
    def from_stats(cls, stats: ClassStats, **hyperparameters: Any) -> ClassificationLoss:
        if hyperparameters.get("prior") == "frequency":
            return super().from_stats(stats, **hyperparameters)
        return cls(stats.num_classes, **hyperparameters)  # Detectron2's LVIS metadata has no instance counts

    def remark(self, stats: ClassStats) -> str:
        return super().remark(stats) if self.uses_frequencies else ""

    def row_losses(self, logits: Tensor, gt_classes: Tensor, features: Tensor | None) -> Tensor:
        smoothing = torch.full_like(gt_classes, self.smoothing, dtype=logits.dtype)
        if not self.smooth_background:
            smoothing = smoothing * (gt_classes < self.num_classes)
        return label_smoothing_loss(logits, gt_classes, smoothing, self.prior, reduction="none")
