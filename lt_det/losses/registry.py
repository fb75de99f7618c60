"""The registry of losses, and functions that build a loss by its name."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from torch import nn

from lt_det.errors import LtDetError, did_you_mean
from lt_det.losses.base import ClassificationLoss
from lt_det.losses.reweighting import ClassReweighting
from lt_det.registry import Registry

if TYPE_CHECKING:
    from lt_det.statistics.class_stats import ClassStats

LOSSES: Registry[type[ClassificationLoss]] = Registry("A loss")

# Names of loss classes in older checkpoints.
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
    """Class decorator that registers a loss as `name`. Its config keys are ``MODEL.LONG_TAIL.LOSS.<NAME>.<KEY>``.

    Raises:
        ValueError: the name is taken.
        LtDetError: a hyper-parameter has no default, which the config key needs for its value and type.
    """

    def register(loss: _Loss) -> _Loss:
        for parameter, default in loss.hyperparameters().items():
            if default is inspect.Parameter.empty:
                raise LtDetError(
                    f"The loss {loss.__name__} ('{name}') has the hyper-parameter '{parameter}' without a default; "
                    "give it one in the constructor, for its config key starts from it."
                )
        return LOSSES.register(name)(loss)

    return register


def loss_class(name: str) -> type[ClassificationLoss]:
    """The loss registered as `name`.

    Raises:
        LtDetError: no loss has this name; the message lists the known names.
    """
    if name not in LOSSES:
        raise LtDetError(
            f"There is no loss '{name}'{did_you_mean(name, LOSSES)} Known losses: {', '.join(sorted(LOSSES))}."
        )
    return LOSSES[name]


def registered_name(loss: nn.Module) -> str:
    """The registered name of a loss, also inside `ClassReweighting`; its class name if it is not registered."""
    if isinstance(loss, ClassReweighting):
        loss = loss.loss
    return next((name for name, known in LOSSES.items() if known is type(loss)), type(loss).__name__)


def name_in_checkpoint(name: str) -> str:
    """The registered name for a name in a checkpoint, which is a class name in older checkpoints."""
    if name in LOSSES:
        return name
    names = {loss.__name__: key for key, loss in LOSSES.items()}
    return _OLD_CLASS_NAMES.get(name) or names.get(name, name)


def possible_num_logits(num_classes: int) -> set[int]:
    """All numbers of classifier columns that the registered losses need for `num_classes` classes."""
    return {loss(num_classes).num_logits for loss in LOSSES.values()}


def build_loss(name: str, stats: ClassStats, **hyperparameters: Any) -> ClassificationLoss:
    """Build the loss registered as `name` for a training set.

    Args:
        name: a key of `LOSSES`.
        stats: class counts of the training set.
        hyperparameters: hyper-parameters of this loss; those that are left out have their default.

    Raises:
        LtDetError: the loss or a hyper-parameter is unknown, a value is invalid, or `stats` lacks counts that the loss
            needs.
    """
    loss = loss_class(name)
    _check_hyperparameters(name, loss, hyperparameters)
    return loss.from_stats(stats, **hyperparameters)


def build_loss_without_stats(
    name: str, num_classes: int, *, reason: str = "", **hyperparameters: Any
) -> ClassificationLoss:
    """Build a loss without class counts. If the loss needs counts, it gives scores but refuses to train.

    Args:
        name: a key of `LOSSES`.
        num_classes: K.
        reason: why there are no counts; part of the error that training raises.
        hyperparameters: see `build_loss`.

    Raises:
        LtDetError: the loss or a hyper-parameter is unknown, or a value is invalid.
    """
    loss = loss_class(name)
    _check_hyperparameters(name, loss, hyperparameters)
    built = loss(num_classes, **hyperparameters)
    if loss.statistics:
        built.refuse_training(reason)
    return built


def _check_hyperparameters(name: str, loss: type[ClassificationLoss], given: dict[str, Any]) -> None:
    defaults = loss.hyperparameters()
    unknown = sorted(set(given) - set(defaults))
    if unknown:
        known = ", ".join(defaults) or "none"
        raise LtDetError(f"Loss '{name}' has no hyper-parameter '{unknown[0]}'; it has: {known}.")
    for key, value in given.items():
        annotation = str(inspect.signature(loss).parameters[key].annotation)
        if (problem := _problem(value, defaults[key], annotation)) is not None:
            raise LtDetError(f"{name.upper()}.{key.upper()} is {value!r:.80}; {problem}.")


def _problem(value: Any, default: Any, annotation: str) -> str | None:
    """What to write instead of a value; None if it has the type of the default, or none can be expected."""
    if isinstance(default, bool):
        return None if isinstance(value, bool) else "write True or False"
    if not isinstance(default, int | float) or (value is None and annotation not in ("float", "int")):
        return None  # None can switch a part off, as alpha of the focal loss
    if isinstance(value, bool | str | list | tuple | dict) or value is None:
        return f"write a number, such as {default}"
    if isinstance(value, int | float) and not math.isfinite(value) and math.isfinite(default):
        return f"write a finite number, such as {default}"
    return None


def require_statistics(model: nn.Module) -> None:
    """Raise if a loss in `model` was built without the class counts that it needs; call it before training.

    Raises:
        LtDetError: class counts are missing; the message gives the reason.
    """
    for module in model.modules():
        if isinstance(module, ClassificationLoss):
            module.require_statistics()
