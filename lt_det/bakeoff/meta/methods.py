"""The meta-learning methods, by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable

from lt_det.bakeoff.meta.balms import BalmsReweighter
from lt_det.bakeoff.meta.hyperparameters import LearnedMargin, LearnedTau
from lt_det.bakeoff.meta.l2rw import L2RW
from lt_det.bakeoff.meta.meta_weight_net import MetaWeightNet
from lt_det.bakeoff.meta.method import AnyLoss, MetaLoss, MetaMethod
from lt_det.errors import LtDetError

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
        raise LtDetError(f"there is no meta-learning method '{name}'; {hint}known methods: {', '.join(META_METHODS)}.")
    MetaLoss(loss)
    return META_METHODS[name](loss)
