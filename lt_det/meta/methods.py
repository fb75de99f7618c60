"""The meta-learning methods, by name."""

from __future__ import annotations

from collections.abc import Callable

from lt_det.errors import LtDetError, did_you_mean
from lt_det.meta.balms import BalmsReweighter
from lt_det.meta.hyperparameters import LearnedMargin, LearnedTau
from lt_det.meta.l2rw import L2RW
from lt_det.meta.meta_weight_net import MetaWeightNet
from lt_det.meta.method import AnyLoss, MetaLoss, MetaMethod

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
        LtDetError: see `checked_meta_name`; or a loss that the method does not work with.
    """
    checked_meta_name(name)
    MetaLoss(loss)
    return META_METHODS[name](loss)


def checked_meta_name(name: str) -> str:
    """`name`, if there is a method of this name.

    Raises:
        LtDetError: there is no such method.
    """
    if name not in META_METHODS:
        raise LtDetError(
            f"'{name}' is no meta-learning method (SECOND_STAGE.META.METHOD, LazyConfig: train.meta_method, or meta of "
            f"a candidate){did_you_mean(name, META_METHODS)} Known methods: {', '.join(META_METHODS)}."
        )
    return name
