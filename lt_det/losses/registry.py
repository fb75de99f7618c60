"""Losses by name."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from torch import nn

from lt_det.errors import LtDetError
from lt_det.losses.base import ClassificationLoss
from lt_det.losses.reweighting import ClassReweighting

if TYPE_CHECKING:
    from lt_det.statistics.class_stats import ClassStats

LOSSES: dict[str, type[ClassificationLoss]] = {}

# Class names that older checkpoints hold.
_OLD_CLASS_NAMES = {
    "CDT": "cdt",
    "ClassBalanced": "class_balanced",
    "EQL": "eql",
    "EQLv2": "eqlv2",
    "Federated": "federated",
    "InfluenceBalanced": "ib",
    "LDAM": "ldam",
    "LabelSmoothing": "label_smoothing",
    "LogitAdjustment": "logit_adjustment",
    "Seesaw": "seesaw",
    "SigmoidCrossEntropy": "sigmoid",
    "SigmoidFocal": "focal",
    "SoftmaxCrossEntropy": "softmax",
    "SoftmaxEQL": "seql",
}

_Loss = TypeVar("_Loss", bound=type[ClassificationLoss])


def register_loss(name: str) -> Callable[[_Loss], _Loss]:
    """Class decorator: register a loss as `name`, in configs ``MODEL.LONG_TAIL.LOSS.<NAME>``.

    Raises:
        ValueError: the name is taken.
        LtDetError: a hyper-parameter without a default, from which the config key takes its value and type.
    """

    def register(loss: _Loss) -> _Loss:
        if name in LOSSES:
            raise ValueError(f"A loss named '{name}' is registered already: {LOSSES[name]}")
        for parameter, default in loss.hyperparameters().items():
            if default is inspect.Parameter.empty:
                raise LtDetError(
                    f"The loss {loss.__name__} ('{name}') has the hyper-parameter '{parameter}' without a default; "
                    "give it one in the constructor, for its config key starts from it."
                )
        LOSSES[name] = loss
        return loss

    return register


def loss_class(name: str) -> type[ClassificationLoss]:
    """The loss registered as `name`.

    Raises:
        LtDetError: no loss has this name; the message lists the known ones.
    """
    if name not in LOSSES:
        close = difflib.get_close_matches(name.lower(), LOSSES, n=1)
        hint = f"did you mean '{close[0]}'? " if close else ""
        raise LtDetError(f"There is no loss '{name}'; {hint}Known losses: {', '.join(sorted(LOSSES))}.")
    return LOSSES[name]


def registered_name(loss: nn.Module) -> str:
    """The name a loss is registered under, also inside `ClassReweighting`; the class's own name if it is not."""
    if isinstance(loss, ClassReweighting):
        loss = loss.loss
    return next((name for name, known in LOSSES.items() if known is type(loss)), type(loss).__name__)


def name_in_checkpoint(name: str) -> str:
    """The registered name for what a checkpoint holds: a registered name, or in older ones a class name."""
    if name in LOSSES:
        return name
    names = {loss.__name__: key for key, loss in LOSSES.items()}
    return _OLD_CLASS_NAMES.get(name) or names.get(name, name)


def possible_num_logits(num_classes: int) -> set[int]:
    """Numbers of columns that the classifiers of the registered losses have for `num_classes` classes."""
    return {loss(num_classes).num_logits for loss in LOSSES.values()}


def build_loss(name: str, stats: ClassStats, **hyperparameters: Any) -> ClassificationLoss:
    """Build the loss registered as `name` for a training set.

    Args:
        name: a key of `LOSSES`.
        stats: the training set's counts.
        hyperparameters: those of this loss; the others keep the constructor's default.

    Raises:
        LtDetError: unknown loss, unknown hyper-parameter, or a value the loss refuses.
    """
    loss = loss_class(name)
    _check_hyperparameters(name, loss, hyperparameters)
    return loss.from_stats(stats, **hyperparameters)


def build_loss_without_stats(
    name: str, num_classes: int, *, reason: str = "", **hyperparameters: Any
) -> ClassificationLoss:
    """Build a loss without its training set. A loss that needs counts only gives scores; training raises `reason`.

    Raises:
        LtDetError: as `build_loss`.
    """
    loss = loss_class(name)
    _check_hyperparameters(name, loss, hyperparameters)
    built = loss(num_classes, **hyperparameters)
    if loss.statistics:
        built.refuse_training(reason)
    return built


def _check_hyperparameters(name: str, loss: type[ClassificationLoss], given: dict[str, Any]) -> None:
    unknown = sorted(set(given) - set(loss.hyperparameters()))
    if unknown:
        known = ", ".join(loss.hyperparameters()) or "none"
        raise LtDetError(f"Loss '{name}' has no hyper-parameter '{unknown[0]}'; it has: {known}.")


def require_statistics(model: nn.Module) -> None:
    """Raise, before the first iteration, if a loss inside `model` lacks its class counts.

    Raises:
        LtDetError: see `ClassificationLoss.require_statistics`.
    """
    for module in model.modules():
        if isinstance(module, ClassificationLoss):
            module.require_statistics()
