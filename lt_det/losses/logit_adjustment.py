"""Logit adjustment, which equals balanced softmax at tau = 1.

Menon et al., "Long-tail learning via logit adjustment", ICLR 2021, https://arxiv.org/abs/2007.07314.
Ren et al., "Balanced Meta-Softmax for Long-Tailed Visual Recognition", NeurIPS 2020, https://arxiv.org/abs/2007.10740.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lt_det.errors import LtDetError
from lt_det.losses._rows import Reduction, checked, reduced
from lt_det.losses.class_weights import Counts
from lt_det.losses.registry import register_loss
from lt_det.losses.softmax import SoftmaxFamily


def log_prior(counts: Tensor) -> Tensor:
    """(K,) log(K n_k / sum n) for (K,) counts n of at least 1; 0 for a class with the mean count."""
    return torch.log(counts * len(counts) / counts.sum())


def logit_adjustment_loss(
    logits: Tensor, targets: Tensor, log_prior: Tensor, *, tau: float = 1.0, reduction: Reduction = "mean"
) -> Tensor:
    """L = -log softmax(z + tau log pi)_y.

    Args:
        logits: (N, C) z.
        targets: (N,) y, int64 in 0..C-1; in a detector's box head C is K+1 and y = K is background.
        log_prior: (C,) log pi, up to a constant; see `log_prior` for the foreground classes, and 0 for background.
        tau: strength; 1 is balanced softmax.
        reduction: "none", "sum" or "mean".

    Returns:
        (N,) for "none", else a scalar.

    Raises:
        LtDetError: logits or targets have a wrong shape or type, or the reduction is unknown.
    """
    logits = checked(logits, targets)
    adjusted = logits + (tau * log_prior).to(logits.dtype)
    return reduced(F.cross_entropy(adjusted, targets, reduction="none"), reduction)


@register_loss("logit_adjustment")
class LogitAdjustmentLoss(SoftmaxFamily):
    """Logit-adjusted softmax cross-entropy; see `logit_adjustment_loss`.

    The log prior is added in training, so that the raw logits, which are used at test time, fit balanced classes. The
    log prior is log(K n_k / sum n) for the foreground classes, a prior of mean 1, and 0 for background.
    `lt_det.modeling.post_hoc_adjustment` has the form that needs no training.

    Args:
        num_classes, background: see `ClassificationLoss`.
        instance_counts: K training instances per class; None for a model that only predicts.
        tau: factor of the log prior, at least 0; 0 is softmax cross-entropy, 1 balanced softmax.

    Raises:
        LtDetError: tau is below 0, or the counts are invalid.
    """

    statistics = ("instance_counts",)
    log_prior: Tensor

    def __init__(
        self,
        num_classes: int,
        *,
        background: bool = True,
        instance_counts: Counts | None = None,
        tau: float = 1.0,
    ) -> None:
        super().__init__(num_classes, background=background)
        if tau < 0:
            raise LtDetError(f"LOGIT_ADJUSTMENT.TAU must be at least 0, but is {tau}; 1 is usual.")
        self.tau = tau
        prior = self.per_column(log_prior(self.class_counts(instance_counts)), 0.0)
        self.register_buffer("log_prior", prior, persistent=False)

    def row_losses(self, logits: Tensor, gt_classes: Tensor, features: Tensor | None) -> Tensor:
        return logit_adjustment_loss(logits, gt_classes, self.log_prior, tau=self.tau, reduction="none")
