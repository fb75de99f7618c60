"""Classification losses for long-tailed recognition, for box heads and for plain classifiers.

Each loss has a function (`eql_loss`) with the paper's formula, and a module (`EQLLoss`) that owns class counts, state
and hyper-parameters. Both take `reduction`. docs/losses_alone.md has examples. The package needs torch and numpy only.
"""

from lt_det.losses._fused_sigmoid import plain_formulas
from lt_det.losses.background_first import BackgroundFirst, background_last
from lt_det.losses.base import ClassificationLoss
from lt_det.losses.cdt import CDTLoss, cdt_loss
from lt_det.losses.class_balanced import ClassBalancedLoss, class_balanced_loss
from lt_det.losses.class_weights import effective_number_weights, inverse_frequency_weights
from lt_det.losses.eql import EQLLoss, eql_loss
from lt_det.losses.eqlv2 import EQLv2Loss, eqlv2_loss
from lt_det.losses.federated import FederatedLoss, federated_loss
from lt_det.losses.focal import FocalLoss, focal_loss
from lt_det.losses.ib import IBLoss, ib_loss
from lt_det.losses.label_smoothing import LabelSmoothingLoss, label_smoothing_loss
from lt_det.losses.ldam import LDAMLoss, ldam_loss
from lt_det.losses.logit_adjustment import LogitAdjustmentLoss, logit_adjustment_loss
from lt_det.losses.registry import (
    LOSSES,
    build_loss,
    build_loss_without_stats,
    loss_class,
    name_in_checkpoint,
    possible_num_logits,
    register_loss,
    registered_name,
    require_statistics,
)
from lt_det.losses.reweighting import ClassReweighting
from lt_det.losses.seesaw import SeesawLoss, seesaw_loss
from lt_det.losses.seql import SoftmaxEQLLoss, seql_loss
from lt_det.losses.sigmoid import SigmoidCrossEntropyLoss, sigmoid_cross_entropy_loss
from lt_det.losses.softmax import SoftmaxCrossEntropyLoss, softmax_cross_entropy_loss

# Names from the papers' abbreviations and titles.
BalancedSoftmaxLoss = LogitAdjustmentLoss  # at its default tau of 1
InfluenceBalancedLoss = IBLoss
SEQLLoss = SoftmaxEQLLoss

# Shorter names for the same classes.
CDT = CDTLoss
EQL = EQLLoss
LDAM = LDAMLoss
ClassBalanced = ClassBalancedLoss
EQLv2 = EQLv2Loss
Federated = FederatedLoss
InfluenceBalanced = IBLoss
LabelSmoothing = LabelSmoothingLoss
LogitAdjustment = LogitAdjustmentLoss
Seesaw = SeesawLoss
SigmoidCrossEntropy = SigmoidCrossEntropyLoss
SigmoidFocal = FocalLoss
SoftmaxCrossEntropy = SoftmaxCrossEntropyLoss
SoftmaxEQL = SoftmaxEQLLoss

__all__ = [
    "CDT",
    "EQL",
    "LDAM",
    "LOSSES",
    "BackgroundFirst",
    "BalancedSoftmaxLoss",
    "CDTLoss",
    "ClassBalanced",
    "ClassBalancedLoss",
    "ClassReweighting",
    "ClassificationLoss",
    "EQLLoss",
    "EQLv2",
    "EQLv2Loss",
    "Federated",
    "FederatedLoss",
    "FocalLoss",
    "IBLoss",
    "InfluenceBalanced",
    "InfluenceBalancedLoss",
    "LDAMLoss",
    "LabelSmoothing",
    "LabelSmoothingLoss",
    "LogitAdjustment",
    "LogitAdjustmentLoss",
    "SEQLLoss",
    "Seesaw",
    "SeesawLoss",
    "SigmoidCrossEntropy",
    "SigmoidCrossEntropyLoss",
    "SigmoidFocal",
    "SoftmaxCrossEntropy",
    "SoftmaxCrossEntropyLoss",
    "SoftmaxEQL",
    "SoftmaxEQLLoss",
    "background_last",
    "build_loss",
    "build_loss_without_stats",
    "cdt_loss",
    "class_balanced_loss",
    "effective_number_weights",
    "eql_loss",
    "eqlv2_loss",
    "federated_loss",
    "focal_loss",
    "ib_loss",
    "inverse_frequency_weights",
    "label_smoothing_loss",
    "ldam_loss",
    "logit_adjustment_loss",
    "loss_class",
    "name_in_checkpoint",
    "plain_formulas",
    "possible_num_logits",
    "register_loss",
    "registered_name",
    "require_statistics",
    "seesaw_loss",
    "seql_loss",
    "sigmoid_cross_entropy_loss",
    "softmax_cross_entropy_loss",
]
