"""What all losses share: checked inputs, one-hot targets, and the reduction of a loss per row to one number."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from lt_det.errors import LtDetError

Reduction = Literal["none", "sum", "mean"]


def at_least_float32(logits: Tensor) -> Tensor:
    """Cast half precision to float32, also under autocast; float32 and float64 stay as they are."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def checked(logits: Tensor, targets: Tensor) -> Tensor:
    """The logits in float32 at least.

    Args:
        logits: (N, C).
        targets: (N,) integers of at least 0; this is only checked on the CPU, since a GPU would have to be waited for.

    Raises:
        LtDetError: other shapes, or targets that are not integers or negative.
    """
    if logits.dim() != 2 or targets.shape != logits.shape[:1]:
        raise LtDetError(
            f"A loss needs logits of shape (N, C) and targets of shape (N,), but got {tuple(logits.shape)} and "
            f"{tuple(targets.shape)}."
        )
    if targets.dtype != torch.int64:
        raise LtDetError(
            f"A loss needs class indices of type torch.int64 as targets, but got {targets.dtype}; one-hot and soft "
            "targets are not supported."
        )
    if targets.device.type == "cpu" and len(targets) and (lowest := int(targets.min())) < 0:
        raise LtDetError(
            f"A loss needs class indices of at least 0 as targets, but got {lowest}; no index is ignored, so leave out "
            "the rows without a class."
        )
    return at_least_float32(logits)


def one_hot(targets: Tensor, like: Tensor) -> Tensor:
    """(N, C) y of the dtype and shape of `like`; a target of C or above is background, a row of zeros."""
    num_classes = like.shape[1]
    y = like.new_zeros(len(targets), num_classes + 1)
    return y.scatter_(1, targets.clamp(max=num_classes).unsqueeze(1), 1.0)[:, :num_classes]


def reduced(rows: Tensor, reduction: str, divisor: Tensor | int | None = None) -> Tensor:
    """Reduce a loss per row.

    Args:
        rows: (N,).
        reduction: "none" for the rows, "sum" for their sum, "mean" for the sum divided by `divisor`.
        divisor: None: N, Detectron2's mean over all sampled RoIs, foreground and background. No row divides by 1, so
            that an empty batch has loss 0 and a gradient.

    Raises:
        LtDetError: an unknown reduction.
    """
    if reduction == "none":
        return rows
    if reduction == "sum":
        return rows.sum()
    if reduction == "mean":
        return rows.sum() / (max(len(rows), 1) if divisor is None else divisor)
    raise LtDetError(f"reduction is '{reduction}'; write none, sum or mean.")
