"""Classification losses for long-tailed detection. Needs torch only: usable in any PyTorch detector."""

from lt_det.losses.base import ClassificationLoss
from lt_det.losses.eql import EQL
from lt_det.losses.registry import (
    LOSSES,
    build_loss,
    build_loss_without_stats,
    loss_class,
    register_loss,
    require_statistics,
)
from lt_det.losses.sigmoid import SigmoidCrossEntropy
from lt_det.losses.softmax import SoftmaxCrossEntropy

__all__ = [
    "EQL",
    "LOSSES",
    "ClassificationLoss",
    "SigmoidCrossEntropy",
    "SoftmaxCrossEntropy",
    "build_loss",
    "build_loss_without_stats",
    "loss_class",
    "register_loss",
    "require_statistics",
]
