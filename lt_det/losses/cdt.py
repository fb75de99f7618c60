"""Class-dependent temperatures (CDT).

Ye et al., "Identifying and Compensating for Feature Deviation in Imbalanced Deep Learning",
https://arxiv.org/abs/2001.01385. Checked against https://github.com/zhangyongshun/BagofTricks-LT.
"""

from __future__ import annotations

from torch import Tensor

from lt_det.errors import LtDetError
from lt_det.losses._fused.affine_softmax import affine_cross_entropy
from lt_det.losses.base import at_least_float32
from lt_det.losses.class_weights import Counts, with_background
from lt_det.losses.registry import register_loss
from lt_det.losses.softmax import SoftmaxLoss


def imbalance(counts: Tensor) -> Tensor:
    """n_max / n_k, at least 1. (K,) counts of at least 1."""
    return counts.max() / counts


@register_loss("cdt")
class CDT(SoftmaxLoss):
    """L = (1/N) sum_i CE(z_i / a, y_i), a_background = 1.

    In training the logits of tail classes are divided by a temperature above 1, so that they have to grow larger; at
    test time the raw logits are used.

    Args:
        num_classes: K.
        instance_counts: K training instances per class; None for a model that only predicts.
        gamma: strength; 0 is plain softmax cross-entropy. A range of counts of 1 to 2000 gives a temperature of 4.6
            at 0.2 and of 2.1 at 0.1.
        test_temperature: True divides at test time too, which the paper does not.

    Raises:
        LtDetError: gamma below 0, counts that do not fit.
    """

    statistics = ("instance_counts",)
    imbalance: Tensor

    def __init__(
        self,
        num_classes: int,
        *,
        instance_counts: Counts | None = None,
        gamma: float = 0.2,
        test_temperature: bool = False,
    ) -> None:
        super().__init__(num_classes)
        if gamma < 0:
            raise LtDetError(f"CDT.GAMMA must be at least 0, but is {gamma}; 0.1 to 0.4 are usual.")
        self.gamma = gamma
        self.test_temperature = test_temperature
        # In the checkpoint only where scores need it; without gamma, which a config may change afterwards.
        ratio = with_background(imbalance(self.class_counts(instance_counts)), 1.0)
        self.register_buffer("imbalance", ratio, persistent=test_temperature)

    def forward(self, logits: Tensor, gt_classes: Tensor, features: Tensor | None = None) -> Tensor:
        logits = self.checked_logits(logits)
        rows = affine_cross_entropy(logits, gt_classes, scale=1 / self._temperature(logits))
        return self.mean_of_rows(rows, gt_classes)

    @property
    def score_scale(self) -> Tensor | float:
        return 1 / self._temperature(self.imbalance) if self.test_temperature else 1.0

    def scores(self, logits: Tensor) -> Tensor:
        logits = at_least_float32(logits)
        return super().scores(logits / self._temperature(logits) if self.test_temperature else logits)

    def _temperature(self, logits: Tensor) -> Tensor:
        """(K+1,) a_k = (n_max / n_k)^gamma (section 4.2)."""
        return (self.imbalance**self.gamma).to(logits.dtype)
