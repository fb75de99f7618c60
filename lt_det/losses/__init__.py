"""Classification losses for long-tailed detection. Needs torch only: usable in any PyTorch detector."""

from lt_det.losses.base import ClassificationLoss
from lt_det.losses.cdt import CDT
from lt_det.losses.class_balanced import ClassBalanced
from lt_det.losses.eql import EQL
from lt_det.losses.eqlv2 import EQLv2
from lt_det.losses.federated import Federated
from lt_det.losses.focal import SigmoidFocal
from lt_det.losses.ib import InfluenceBalanced
from lt_det.losses.label_smoothing import LabelSmoothing
from lt_det.losses.ldam import LDAM
from lt_det.losses.logit_adjustment import LogitAdjustment
from lt_det.losses.registry import (
    LOSSES,
    build_loss,
    build_loss_without_stats,
    loss_class,
    register_loss,
    require_statistics,
)
from lt_det.losses.reweighting import DeferredReweighting
from lt_det.losses.seesaw import Seesaw
from lt_det.losses.seql import SoftmaxEQL
from lt_det.losses.sigmoid import SigmoidCrossEntropy
from lt_det.losses.softmax import SoftmaxCrossEntropy

__all__ = [
    "CDT",
    "EQL",
    "LDAM",
    "LOSSES",
    "ClassBalanced",
    "ClassificationLoss",
    "DeferredReweighting",
    "EQLv2",
    "Federated",
    "InfluenceBalanced",
    "LabelSmoothing",
    "LogitAdjustment",
    "Seesaw",
    "SigmoidCrossEntropy",
    "SigmoidFocal",
    "SoftmaxCrossEntropy",
    "SoftmaxEQL",
    "build_loss",
    "build_loss_without_stats",
    "loss_class",
    "register_loss",
    "require_statistics",
]
