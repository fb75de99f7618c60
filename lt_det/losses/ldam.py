"""Label-distribution-aware margin loss (LDAM).

Cao et al., "Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss", NeurIPS 2019,
https://arxiv.org/abs/1906.07413. Checked against https://github.com/kaidic/LDAM-DRW.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lt_det.errors import LtDetError
from lt_det.losses._rows import Reduction, at_least_float32, checked, reduced
from lt_det.losses.class_weights import Counts
from lt_det.losses.registry import register_loss
from lt_det.losses.softmax import SoftmaxFamily


def ldam_margins(counts: Tensor, max_margin: float) -> Tensor:
    """Delta_j = C / n_j^(1/4), where C gives the rarest class the margin `max_margin` (eq. 13).

    Args:
        counts: (K,) n, at least 1.
        max_margin: margin of the rarest class; 0.5 in the authors' code.

    Returns:
        (K,) Delta.

    >>> ldam_margins(torch.tensor([1.0, 16.0, 10_000.0]), 0.5).tolist()
    [0.5, 0.25, 0.05000000074505806]
    """
    margins = counts**-0.25
    return margins * (max_margin / margins.max())


def ldam_loss(
    logits: Tensor,
    targets: Tensor,
    margins: Tensor,
    *,
    scale: float = 30.0,
    hinge: bool = False,
    reduction: Reduction = "mean",
) -> Tensor:
    """L = -log(e^(s (z_y - Delta_y)) / (e^(s (z_y - Delta_y)) + sum_{j != y} e^(s z_j))).

    Args:
        logits: (N, C) z, cosines.
        targets: (N,) y, int64 in 0..C-1; in a detector's box head C is K+1 and y = K is background.
        margins: (C,) Delta; 0 for background.
        scale: s.
        hinge: True: L = s max(max_{j != y} z_j - z_y + Delta_y, 0), the paper's hinge form.
        reduction: "none", "sum" or "mean".

    Returns:
        (N,) for "none", else a scalar.

    Raises:
        LtDetError: logits or targets have a wrong shape or type, or the reduction is unknown.
    """
    logits = checked(logits, targets)
    y = targets.unsqueeze(1)
    z = logits.scatter_add(1, y, -margins.to(logits.dtype)[y])  # z_y - Delta_y for the target, z_j for the others
    if hinge:
        z_y = z.gather(1, y).squeeze(1)
        largest_other = z.scatter(1, y, -torch.inf).amax(dim=1)
        return reduced(scale * (largest_other - z_y).clamp(min=0), reduction)
    return reduced(F.cross_entropy(scale * z, targets, reduction="none"), reduction)


@register_loss("ldam")
class LDAMLoss(SoftmaxFamily):
    """Label-distribution-aware margin loss; see `ldam_loss`. Scores are softmax(s z).

    The paper combines the loss with deferred re-weighting, see `ClassReweighting`. The scale s is applied at test time,
    too: a detector thresholds probabilities, and a softmax over bare cosines is nearly uniform.

    Args:
        num_classes, background: see `ClassificationLoss`.
        instance_counts: K training instances per class; None for a model that only predicts.
        max_margin: margin of the rarest class, at least 0; use 0.3 for more than a thousand classes.
        scale: the factor s of the logits, in training and at test time; above 0.
        hinge: True for the paper's hinge form instead of its softmax form.
        uniform_margin: True gives every foreground class the margin `max_margin`, a baseline of the paper.

    Raises:
        LtDetError: max_margin is below 0, scale is not above 0, or the counts are invalid.
    """

    default_classifier = "cosine"
    scales_cosines = True
    statistics = ("instance_counts",)
    margins: Tensor

    def __init__(
        self,
        num_classes: int,
        *,
        background: bool = True,
        instance_counts: Counts | None = None,
        max_margin: float = 0.5,
        scale: float = 30.0,
        hinge: bool = False,
        uniform_margin: bool = False,
    ) -> None:
        super().__init__(num_classes, background=background)
        if max_margin < 0 or scale <= 0:
            raise LtDetError(
                f"LDAM.MAX_MARGIN must be at least 0 and LDAM.SCALE above 0, but they are {max_margin} and {scale}; "
                "0.5 and 30 are usual."
            )
        self.scale, self.hinge = scale, hinge
        counts = self.class_counts(instance_counts)
        margins = ldam_margins(torch.ones_like(counts) if uniform_margin else counts, max_margin)
        self.register_buffer("margins", self.per_column(margins, 0.0), persistent=False)

    def row_losses(self, logits: Tensor, gt_classes: Tensor, features: Tensor | None) -> Tensor:
        return ldam_loss(logits, gt_classes, self.margins, scale=self.scale, hinge=self.hinge, reduction="none")

    @property
    def score_scale(self) -> float:
        return self.scale

    def scores(self, logits: Tensor) -> Tensor:
        return super().scores(self.score_scale * at_least_float32(logits))
