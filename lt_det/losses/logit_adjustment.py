"""Logit adjustment, and balanced softmax, which is the same at tau = 1.

Menon et al., "Long-tail learning via logit adjustment", ICLR 2021, https://arxiv.org/abs/2007.07314.
Ren et al., "Balanced Meta-Softmax for Long-Tailed Visual Recognition", NeurIPS 2020, https://arxiv.org/abs/2007.10740.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lt_det.errors import LtDetError
from lt_det.losses._fused.affine_softmax import affine_cross_entropy
from lt_det.losses.class_weights import Counts, with_background
from lt_det.losses.registry import register_loss
from lt_det.losses.softmax import SoftmaxLoss


def log_prior(counts: Tensor) -> Tensor:
    """log(K n_k / sum n): zero for every class where all are equally frequent. (K,) counts of at least 1."""
    return torch.log(counts * len(counts) / counts.sum())


@register_loss("logit_adjustment")
class LogitAdjustment(SoftmaxLoss):
    """L = (1/N) sum_i CE(z_i + tau delta, y_i), delta_k = log(K n_k / sum n), delta_background = 0.

    Adding the log prior in training makes the raw logits those of a balanced set; they are used at test time. The prior
    is that of the foreground classes, so that the odds of foreground and background stay as they are. Post hoc, without
    training, it is a calibration: `lt_det.modeling.post_hoc_adjustment`.

    Args:
        num_classes: K.
        instance_counts: K training instances per class; None for a model that only predicts.
        tau: strength; 0 is plain softmax cross-entropy.

    Raises:
        LtDetError: tau below 0, counts that do not fit.
    """

    statistics = ("instance_counts",)
    log_prior: Tensor

    def __init__(self, num_classes: int, *, instance_counts: Counts | None = None, tau: float = 1.0) -> None:
        super().__init__(num_classes)
        if tau < 0:
            raise LtDetError(f"LOGIT_ADJUSTMENT.TAU must be at least 0, but is {tau}; 1 is usual.")
        self.tau = tau
        prior = with_background(log_prior(self.class_counts(instance_counts)), 0.0)
        self.register_buffer("log_prior", prior, persistent=False)

    def forward(self, logits: Tensor, gt_classes: Tensor, features: Tensor | None = None) -> Tensor:
        logits = self.checked_logits(logits)
        shift = (self.tau * self.log_prior).to(logits.dtype)
        return self.mean_of_rows(affine_cross_entropy(logits, gt_classes, shift=shift), gt_classes)
