"""Meta-learning methods by name, and candidates of a bake-off that use them."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lt_det.bakeoff.candidates.candidate import LOSS_NAME, Candidate, Kind
from lt_det.bakeoff.meta.balms import BalmsReweighter
from lt_det.bakeoff.meta.hyperparameters import LearnedMargin, LearnedTau
from lt_det.bakeoff.meta.l2rw import L2RW
from lt_det.bakeoff.meta.meta_weight_net import MetaWeightNet
from lt_det.bakeoff.meta.method import AnyLoss, MetaLoss, MetaMethod
from lt_det.errors import LtDetError
from lt_det.modeling.loss_builder import loss_of_config

# From the loss that trains the classifier.
META_METHODS: dict[str, Callable[[AnyLoss], MetaMethod]] = {
    "meta_weight_net": lambda loss: MetaWeightNet(),
    "l2rw": lambda loss: L2RW(),
    "balms": lambda loss: BalmsReweighter(loss.num_classes),
    "learned_tau": LearnedTau,
    "learned_margin": LearnedMargin,
}


def build_meta_method(name: str, loss: AnyLoss) -> MetaMethod:
    """Build a method for the loss that trains the classifier.

    Raises:
        LtDetError: no such method, or a loss that it does not work with.
    """
    if name not in META_METHODS:
        close = difflib.get_close_matches(name.lower(), META_METHODS, n=1)
        hint = f"did you mean '{close[0]}'? " if close else ""
        raise LtDetError(f"there is no meta-learning method '{name}'; {hint}Known: {', '.join(META_METHODS)}.")
    MetaLoss(loss)
    return META_METHODS[name](loss)


@dataclass(frozen=True)
class MetaCandidate(Candidate):
    """A candidate whose weights or hyper-parameters are learned on a meta set; trained by `fit_meta`.

    Attributes:
        method: a key of `META_METHODS`.
    """

    kind: Kind = "meta"
    method: str = "meta_weight_net"

    def check(self, cfg: Any) -> None:
        """See `Candidate.check`; a method that does not work with the loss is a mistake, too."""
        super().check(cfg)
        build_meta_method(self.method, loss_of_config(self.config(cfg)))


def meta_candidates() -> list[MetaCandidate]:
    """Each method with the loss that it was published with."""
    return [
        MetaCandidate("meta-weight-net", {LOSS_NAME: "softmax"}, method="meta_weight_net"),
        MetaCandidate("l2rw", {LOSS_NAME: "softmax"}, method="l2rw"),
        MetaCandidate("balms", {LOSS_NAME: "logit_adjustment"}, method="balms"),
        MetaCandidate("logit_adjustment, learned tau", {LOSS_NAME: "logit_adjustment"}, method="learned_tau"),
        MetaCandidate("ldam, learned margin", {LOSS_NAME: "ldam"}, method="learned_margin"),
    ]
