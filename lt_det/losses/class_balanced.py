"""Class-balanced loss.

Cui et al., "Class-Balanced Loss Based on Effective Number of Samples", CVPR 2019, https://arxiv.org/abs/1901.05555.
Checked against https://github.com/richardaecn/class-balanced-loss.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from lt_det.errors import LtDetError
from lt_det.losses._rows import Reduction, checked, reduced
from lt_det.losses.base import ClassificationLoss
from lt_det.losses.class_weights import Counts, MeanOver, effective_number_weights
from lt_det.losses.focal import focal_loss, num_foreground
from lt_det.losses.registry import register_loss
from lt_det.losses.sigmoid import SigmoidCrossEntropyLoss, SigmoidFamily, sigmoid_cross_entropy_loss
from lt_det.losses.softmax import SoftmaxCrossEntropyLoss, softmax_cross_entropy_loss

Base = Literal["softmax", "sigmoid", "focal"]


def class_balanced_loss(
    logits: Tensor,
    targets: Tensor,
    class_weight: Tensor,
    *,
    base: Base = "softmax",
    gamma: float = 0.5,
    reduction: Reduction = "mean",
) -> Tensor:
    """CB(z, y) = w_y L(z, y) with w_y = (1 - beta) / (1 - beta^n_y) (section 4).

    The weight of the target multiplies all terms of its row.

    Args:
        logits: (N, C) z for base "softmax", (N, K) for "sigmoid" and "focal".
        targets: (N,) y, int64; see the base's own loss.
        class_weight: (K+1,) weights w, background last, or (K,) without background; see `effective_number_weights`.
        base: the loss L: "softmax" or "sigmoid" for cross-entropy, "focal" for focal loss without alpha.
        gamma: focusing exponent of "focal".
        reduction: "none", "sum" or "mean".

    Returns:
        (N,) for "none", else a scalar.

    Raises:
        LtDetError: logits or targets have a wrong shape or type, or the reduction is unknown.
    """
    logits = checked(logits, targets)
    if base == "softmax":
        rows = softmax_cross_entropy_loss(logits, targets, reduction="none")
    elif base == "sigmoid":
        rows = sigmoid_cross_entropy_loss(logits, targets, reduction="none")
    else:
        rows = focal_loss(logits, targets, alpha=None, gamma=gamma, reduction="none")
    return reduced(class_weight.to(logits.dtype)[targets] * rows, reduction)


@register_loss("class_balanced")
class ClassBalancedLoss(ClassificationLoss):
    """Class-balanced loss; see `class_balanced_loss`. Background has weight 1.

    The mean divides by N for "softmax". For "sigmoid" and "focal" it divides by the number of foreground rows; the
    authors divide by the sum of the one-hot labels, which is the same.

    Args:
        num_classes, background: see `ClassificationLoss`.
        instance_counts: K training instances per class; None for a model that only predicts.
        base: the loss that is weighted: "softmax", "sigmoid" or "focal" (without alpha).
        beta: at least 0 and below 1; 0 gives all classes the same weight, and towards 1 the weight approaches 1/n.
        mean_over: the weights have mean 1 over the "classes", as published, or over the training "instances". A
            detector needs "instances": with "classes" the average foreground RoI may have a tenth of the weight of a
            background RoI, and the detector predicts background for everything.
        gamma: focusing exponent of "focal", at least 0.
        divide_by_weights: for "softmax", True divides by the sum of the weights of the rows instead of their number, as
            PyTorch ports of this loss do. The result can differ by orders of magnitude in batches with few rows of tail
            classes.

    Raises:
        LtDetError: base or mean_over is unknown, beta or gamma is out of range, or the counts are invalid.
    """

    statistics = ("instance_counts",)
    class_weight: Tensor

    def __init__(
        self,
        num_classes: int,
        *,
        background: bool = True,
        instance_counts: Counts | None = None,
        base: Base = "softmax",
        beta: float = 0.999,
        mean_over: MeanOver = "classes",
        gamma: float = 0.5,
        divide_by_weights: bool = False,
    ) -> None:
        super().__init__(num_classes, background=background)
        if base not in ("softmax", "sigmoid", "focal"):
            raise LtDetError(f"CLASS_BALANCED.BASE is '{base}'; write softmax, sigmoid or focal.")
        if gamma < 0:
            raise LtDetError(f"CLASS_BALANCED.GAMMA must be at least 0, but is {gamma}; 0.5 to 2 are usual.")
        self.base, self.gamma, self.divide_by_weights = base, gamma, divide_by_weights
        # The base defines scores and the initial bias. The authors' prior probability is 1/K.
        self.parent: SoftmaxCrossEntropyLoss | SigmoidFamily = (
            SoftmaxCrossEntropyLoss(num_classes, background=background)
            if base == "softmax"
            else SigmoidCrossEntropyLoss(num_classes, background=background, prior_prob=1.0 / max(num_classes, 2))
        )
        weight = effective_number_weights(self.class_counts(instance_counts), beta, mean_over, "CLASS_BALANCED")
        self.register_buffer("class_weight", self.per_column(weight, 1.0), persistent=False)

    def row_losses(self, logits: Tensor, gt_classes: Tensor, features: Tensor | None) -> Tensor:
        if isinstance(self.parent, SigmoidFamily):
            logits = self.parent.class_logits(logits)
        return class_balanced_loss(
            logits, gt_classes, self.class_weight, base=self.base, gamma=self.gamma, reduction="none"
        )

    def divisor(self, gt_classes: Tensor) -> Tensor | int:
        if self.base != "softmax":
            return num_foreground(gt_classes, self.num_classes)
        if self.divide_by_weights:
            total = self.class_weight[gt_classes].sum()
            return total.clamp(min=torch.finfo(total.dtype).tiny)
        return super().divisor(gt_classes)

    def scores(self, logits: Tensor) -> Tensor:
        return self.parent.scores(logits)

    def predicted_classes(self, logits: Tensor) -> Tensor:
        return self.parent.predicted_classes(logits)

    def initial_bias(self) -> Tensor | None:
        return self.parent.initial_bias()
