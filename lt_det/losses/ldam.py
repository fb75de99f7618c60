"""Label-distribution-aware margin loss (LDAM).

Cao et al., "Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss", NeurIPS 2019,
https://arxiv.org/abs/1906.07413. Checked against https://github.com/kaidic/LDAM-DRW.
"""

from __future__ import annotations

from torch import Tensor

from lt_det.errors import LtDetError
from lt_det.losses._fused.affine_softmax import affine_cross_entropy
from lt_det.losses.base import at_least_float32
from lt_det.losses.class_weights import Counts, with_background
from lt_det.losses.registry import register_loss
from lt_det.losses.softmax import SoftmaxLoss


def ldam_margins(counts: Tensor, max_margin: float) -> Tensor:
    """m_k = C / n_k^(1/4), with C such that the rarest class has `max_margin` (eq. 13). (K,) counts of at least 1."""
    margins = counts**-0.25
    return margins * (max_margin / margins.max())


@register_loss("ldam")
class LDAM(SoftmaxLoss):
    """L = (1/N) sum_i CE(s (z_i - m_{y_i} t_i), y_i), z cosines, m_background = 0.

    The paper combines it with `DeferredReweighting`. The scale s is part of the score too: a detector thresholds
    probabilities, and softmax over bare cosines is flat.

    Args:
        num_classes: K.
        instance_counts: K training instances per class; None for a model that only predicts.
        max_margin: margin of the rarest class; 0.5, with 0.3 advised for more than a thousand classes.
        scale: s.

    Raises:
        LtDetError: a margin below 0, a scale of 0 or below, counts that do not fit.
    """

    default_classifier = "cosine"
    cosine_scale = 1.0  # s is applied here
    cosine_bias = False
    statistics = ("instance_counts",)
    margin: Tensor

    def __init__(
        self,
        num_classes: int,
        *,
        instance_counts: Counts | None = None,
        max_margin: float = 0.5,
        scale: float = 30.0,
    ) -> None:
        super().__init__(num_classes)
        if max_margin < 0 or scale <= 0:
            raise LtDetError(
                f"LDAM.MAX_MARGIN must be at least 0 and LDAM.SCALE above 0, but they are {max_margin} and {scale}; "
                "0.5 and 30 are usual."
            )
        self.scale = scale
        margin = ldam_margins(self.class_counts(instance_counts), max_margin)
        self.register_buffer("margin", with_background(margin, 0.0), persistent=False)

    def forward(self, logits: Tensor, gt_classes: Tensor, features: Tensor | None = None) -> Tensor:
        logits = self.checked_logits(logits)
        margins = self.margin.to(logits.dtype)[gt_classes]
        rows = affine_cross_entropy(logits, gt_classes, scale=self.scale, target_shift=-self.scale * margins)
        return self.mean_of_rows(rows, gt_classes)

    @property
    def score_scale(self) -> float:
        return self.scale

    def scores(self, logits: Tensor) -> Tensor:
        return super().scores(self.score_scale * at_least_float32(logits))
