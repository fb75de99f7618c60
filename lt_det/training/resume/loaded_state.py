"""What a checkpoint says about a training besides its weights, checked before the training continues with it.

Detectron2 and torch assign such values as they are, so that a text in place of a number fails iterations later.
"""

from __future__ import annotations

import math
import numbers
from typing import Any

import torch
from torch import Tensor

from lt_det.errors import LtDetError

_OPTIONS = ("lr", "initial_lr", "momentum", "weight_decay")
_LIKE_WEIGHT = ("momentum_buffer", "exp_avg", "exp_avg_sq", "max_exp_avg_sq")  # of torch's SGD and Adam


def check_loaded_state(path: str, iteration: Any, optimizer: torch.optim.Optimizer) -> None:
    """
    Args:
        path: of the checkpoint, for messages.
        iteration: after which it was saved.
        optimizer: with the state of the checkpoint.

    Raises:
        LtDetError: the iteration or an option of the optimizer is not a number, or a buffer of it has another shape
            than its weight.
    """
    if type(iteration) is not int or iteration < 0:
        raise refused(path, f"its iteration is {iteration!r:.40}")
    for group in optimizer.param_groups:
        for key in _OPTIONS:
            if not (_is_number(group.get(key, 0.0)) or isinstance(group[key], Tensor)):
                raise refused(path, f"{key} of its optimizer is {group[key]!r:.40}")
        for parameter in group["params"]:
            state = optimizer.state.get(parameter, {})
            for key in _LIKE_WEIGHT:
                value = state.get(key)
                if value is not None and not (isinstance(value, Tensor) and value.shape == parameter.shape):
                    found = list(value.shape) if isinstance(value, Tensor) else f"{value!r:.40}"
                    raise refused(path, f"{key} of its optimizer is {found} for a weight {list(parameter.shape)}")


def check_seed(seed: Any, what: str) -> int:
    """A seed of a checkpoint.

    Args:
        seed: as it was saved.
        what: which is seeded, for the message.

    Raises:
        LtDetError: it is not a whole number.
    """
    if isinstance(seed, bool) or not isinstance(seed, numbers.Integral):
        raise LtDetError(
            f"The checkpoint cannot be resumed: the seed of {what} is {seed!r:.40}; use another checkpoint, or start "
            "a training from its weights."
        )
    return int(seed)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def refused(path: str, what: str) -> LtDetError:
    """The error that a checkpoint cannot be resumed, where `what` says what is wrong with it."""
    return LtDetError(
        f"The checkpoint {path} cannot be resumed: {what}; use another checkpoint, or set MODEL.WEIGHTS (LazyConfig: "
        "train.init_checkpoint) to it and another OUTPUT_DIR to start a training from its weights."
    )
