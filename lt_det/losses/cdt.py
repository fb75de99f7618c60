"""Class-dependent temperatures (CDT).

Ye et al., "Identifying and Compensating for Feature Deviation in Imbalanced Deep Learning",
https://arxiv.org/abs/2001.01385. Checked against https://github.com/zhangyongshun/BagofTricks-LT.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from lt_det.errors import LtDetError
from lt_det.losses._rows import Reduction, at_least_float32, checked, reduced
from lt_det.losses.class_weights import Counts
from lt_det.losses.registry import register_loss
from lt_det.losses.softmax import SoftmaxFamily


def imbalance(counts: Tensor) -> Tensor:
    """(K,) n_max / n_k for (K,) counts n of at least 1."""
    return counts.max() / counts


def cdt_loss(logits: Tensor, targets: Tensor, temperature: Tensor, *, reduction: Reduction = "mean") -> Tensor:
    """L = -log softmax(z / a)_y with a_k = (n_max / n_k)^gamma (section 4.2).

    Args:
        logits: (N, C) z.
        targets: (N,) y, int64 in 0..C-1; in a detector's box head C is K+1 and y = K is background.
        temperature: (C,) a; 1 for background.
        reduction: "none", "sum" or "mean".

    Returns:
        (N,) for "none", else a scalar.

    Raises:
        LtDetError: logits or targets have a wrong shape or type, or the reduction is unknown.
    """
    logits = checked(logits, targets)
    a = temperature.to(logits.dtype)
    return reduced(F.cross_entropy(logits / a, targets, reduction="none"), reduction)


@register_loss("cdt")
class CDTLoss(SoftmaxFamily):
    """Class-dependent temperatures; see `cdt_loss`.

    In training, the logits of tail classes are divided by a temperature above 1, so the classifier has to learn larger
    ones. At test time the raw logits are used.

    Args:
        num_classes, background: see `ClassificationLoss`.
        instance_counts: K training instances per class; None for a model that only predicts.
        gamma: exponent of the temperatures, at least 0; 0 is softmax cross-entropy. With counts from 1 to 2000,
            temperatures reach 4.6 at 0.2 and 2.1 at 0.1.
        test_temperature: True divides the logits by the temperatures at test time, too; the paper does not.

    Raises:
        LtDetError: gamma is below 0, or the counts are invalid.
    """

    statistics = ("instance_counts",)
    imbalance: Tensor

    def __init__(
        self,
        num_classes: int,
        *,
        background: bool = True,
        instance_counts: Counts | None = None,
        gamma: float = 0.2,
        test_temperature: bool = False,
    ) -> None:
        super().__init__(num_classes, background=background)
        if gamma < 0:
            raise LtDetError(f"CDT.GAMMA must be at least 0, but is {gamma}; 0.1 to 0.4 are usual.")
        self.gamma = gamma
        self.test_temperature = test_temperature
        # Saved in the checkpoint only if scores need it. Saved without gamma, because a config may change gamma.
        ratio = self.per_column(imbalance(self.class_counts(instance_counts)), 1.0)
        self.register_buffer("imbalance", ratio, persistent=test_temperature)

    @property
    def temperature(self) -> Tensor:
        """(num_logits,) temperatures a."""
        return self.imbalance**self.gamma

    def row_losses(self, logits: Tensor, gt_classes: Tensor, features: Tensor | None) -> Tensor:
        return cdt_loss(logits, gt_classes, self.temperature, reduction="none")

    @property
    def score_scale(self) -> Tensor | float:
        return 1 / self.temperature if self.test_temperature else 1.0

    def scores(self, logits: Tensor) -> Tensor:
        logits = at_least_float32(logits)
        return super().scores(logits / self.temperature.to(logits.dtype) if self.test_temperature else logits)
