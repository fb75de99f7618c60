"""Class-balanced loss.

Cui et al., "Class-Balanced Loss Based on Effective Number of Samples", CVPR 2019, https://arxiv.org/abs/1901.05555.
Checked against https://github.com/richardaecn/class-balanced-loss.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from lt_det.errors import LtDetError
from lt_det.losses._fused.weighted_sigmoid import weighted_sigmoid_cross_entropy
from lt_det.losses.base import ClassificationLoss, divide_by_rois
from lt_det.losses.class_weights import Counts, MeanOver, effective_number_weights, with_background
from lt_det.losses.focal import number_to_divide_by
from lt_det.losses.registry import register_loss
from lt_det.losses.sigmoid import SigmoidCrossEntropy, SigmoidLoss
from lt_det.losses.softmax import SoftmaxCrossEntropy


@register_loss("class_balanced")
class ClassBalanced(ClassificationLoss):
    """L = (1/D) sum_i w_{y_i} base(z_i, y_i), w from `effective_number_weights`, w_background = 1.

    The weight is that of the row's label, for all of the row's terms. D is N for softmax; for sigmoid and focal it is
    the number of foreground RoIs, the authors' sum of one-hot labels.

    Args:
        num_classes: K.
        instance_counts: K training instances per class; None for a model that only predicts.
        base: "softmax", "sigmoid" or "focal" (without alpha).
        beta: in [0, 1); 0 weighs all classes alike.
        mean_over: the weights have mean 1 over "classes" (the authors' scale) or over training "instances". A detector
            wants the latter: with the former an average foreground RoI may weigh a tenth of a background one, and the
            detector predicts background for everything.
        gamma: of focal.
        divide_by_weights: for softmax, divide by the sum of the rows' weights, as PyTorch ports of this loss do;
            the two differ by orders of magnitude in batches with few tail classes.

    Raises:
        LtDetError: unknown base or mean_over, beta or gamma out of range, counts that do not fit.
    """

    statistics = ("instance_counts",)
    class_weight: Tensor

    def __init__(
        self,
        num_classes: int,
        *,
        instance_counts: Counts | None = None,
        base: Literal["softmax", "sigmoid", "focal"] = "softmax",
        beta: float = 0.999,
        mean_over: MeanOver = "classes",
        gamma: float = 0.5,
        divide_by_weights: bool = False,
    ) -> None:
        super().__init__(num_classes)
        if base not in ("softmax", "sigmoid", "focal"):
            raise LtDetError(f"CLASS_BALANCED.BASE is '{base}'; write softmax, sigmoid or focal.")
        if gamma < 0:
            raise LtDetError(f"CLASS_BALANCED.GAMMA must be at least 0, but is {gamma}; 0.5 to 2 are usual.")
        self.base, self.gamma, self.divide_by_weights = base, gamma, divide_by_weights
        # What a score is and where the classifier starts is the base's. The authors' prior is 1/K.
        self.parent: SoftmaxCrossEntropy | SigmoidLoss = (
            SoftmaxCrossEntropy(num_classes)
            if base == "softmax"
            else SigmoidCrossEntropy(num_classes, prior_prob=1.0 / max(num_classes, 2))
        )
        weight = effective_number_weights(self.class_counts(instance_counts), beta, mean_over)
        self.register_buffer("class_weight", with_background(weight, 1.0), persistent=False)

    def forward(self, logits: Tensor, gt_classes: Tensor, features: Tensor | None = None) -> Tensor:
        logits = self.checked_logits(logits)
        weight = self.class_weight.to(logits.dtype)[gt_classes]
        if self.base == "softmax":
            total = (weight * F.cross_entropy(logits, gt_classes, reduction="none")).sum()
            if self.divide_by_weights:
                return total / weight.sum().clamp(min=torch.finfo(weight.dtype).tiny)
            return divide_by_rois(total, len(gt_classes))
        gamma = self.gamma if self.base == "focal" else 0.0
        total, _ = weighted_sigmoid_cross_entropy(logits, gt_classes, rows=weight, gamma=gamma)
        return total / number_to_divide_by("foreground", gt_classes, self.num_classes)

    def scores(self, logits: Tensor) -> Tensor:
        return self.parent.scores(logits)

    def predicted_classes(self, logits: Tensor) -> Tensor:
        return self.parent.predicted_classes(logits)

    def initial_bias(self) -> Tensor | None:
        return self.parent.initial_bias()
