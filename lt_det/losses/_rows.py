"""Shared by all losses: checks of the input, one-hot targets, and the reduction of the losses of the rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from lt_det.errors import LtDetError

Reduction = Literal["none", "sum", "mean"]


def at_least_float32(logits: Tensor) -> Tensor:
    """Convert half precision to float32, also under autocast; float32 and float64 stay unchanged."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


# torch before 2.3 does not say it, and compiles each loss in parts.
is_compiling: Callable[[], bool] = getattr(torch.compiler, "is_compiling", lambda: False)


def can_be_read(targets: Tensor) -> bool:
    """Whether checks may look at the values: on a GPU they wait for it, and in `torch.compile` they split the graph."""
    return targets.device.type == "cpu" and not is_compiling()


def checked(logits: Tensor, targets: Tensor) -> Tensor:
    """Check logits and targets, and return the logits in float32 or float64.

    Args:
        logits: (N, C).
        targets: (N,) int64, at least 0. Negative targets are detected on the CPU only, and not in `torch.compile`.

    Raises:
        LtDetError: they are no tensors, their shapes or devices differ, the logits are not of a floating-point type, or
            the targets are not int64 or are negative.
    """
    for what, value in (("logits", logits), ("targets", targets)):
        if not isinstance(value, Tensor):
            raise LtDetError(f"A loss needs tensors, but its {what} are a {type(value).__name__}; use torch.as_tensor.")
    if logits.dim() != 2 or targets.shape != logits.shape[:1]:
        raise LtDetError(
            f"A loss needs logits of shape (N, C) and targets of shape (N,), but got {tuple(logits.shape)} and "
            f"{tuple(targets.shape)}."
        )
    if not logits.is_floating_point():
        raise LtDetError(
            f"A loss needs logits of a floating-point type, but got {logits.dtype}; give it the classifier's output, "
            "and no classes."
        )
    if targets.device != logits.device:
        raise LtDetError(
            f"The logits are on {logits.device}, but the targets on {targets.device}; move the targets there."
        )
    if targets.dtype != torch.int64:
        raise LtDetError(
            f"A loss needs class indices of type torch.int64 as targets, but got {targets.dtype}; one-hot and soft "
            "targets are not supported."
        )
    if can_be_read(targets) and len(targets) and (lowest := int(targets.min())) < 0:
        raise LtDetError(
            f"A loss needs class indices of at least 0 as targets, but got {lowest}; no index is ignored, so leave out "
            "the rows without a class."
        )
    return at_least_float32(logits)


def one_hot(targets: Tensor, like: Tensor) -> Tensor:
    """(N, C) one-hot targets with the dtype and shape of `like`; a target of C or above gives a row of zeros."""
    num_classes = like.shape[1]
    y = like.new_zeros(len(targets), num_classes + 1)
    return y.scatter_(1, targets.clamp(max=num_classes).unsqueeze(1), 1.0)[:, :num_classes]


def reduced(rows: Tensor, reduction: str, divisor: Tensor | int | None = None) -> Tensor:
    """Reduce a loss per row.

    Args:
        rows: (N,).
        reduction: "none" for the rows, "sum" for their sum, "mean" for the sum divided by `divisor`.
        divisor: None for N, as in Detectron2's mean over all sampled RoIs. An empty batch divides by 1, so that it has
            loss 0 and a gradient.

    Raises:
        LtDetError: the reduction is unknown.
    """
    if reduction == "none":
        return rows
    if reduction == "sum":
        return rows.sum()
    if reduction == "mean":
        return rows.sum() / (max(len(rows), 1) if divisor is None else divisor)
    raise LtDetError(f"reduction is '{reduction}'; write none, sum or mean.")
