"""Vectors with one entry per class, and the one rule for background."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lt_det.errors import LtDetError

Counts = Sequence[int] | NDArray | Tensor


def checked_counts(counts: Counts, num_classes: int, loss: str) -> Tensor:
    """(K,) counts as float64, at least 1.

    Raises:
        LtDetError: another length than K, or a negative count.
    """
    result = torch.as_tensor(counts, dtype=torch.float64)
    if result.shape != (num_classes,):
        raise LtDetError(f"{loss} needs {num_classes} counts, one per class, but got {tuple(result.shape)}.")
    if (result < 0).any():
        raise LtDetError(f"{loss} needs counts of at least 0, but class {int(result.argmin())} has {result.min():g}.")
    return result.clamp(min=1)


MeanOver = Literal["classes", "instances"]


def with_mean_one(weights: Tensor, counts: Tensor, mean_over: MeanOver, key: str) -> Tensor:
    """The weights scaled so that their mean is 1.

    Args:
        weights: (K,).
        counts: (K,) instances per class, at least 1.
        mean_over: "classes", as the literature does, or training "instances", so that the average foreground RoI
            weighs as much as a background RoI.
        key: of the config, for error messages.

    Raises:
        LtDetError: an unknown mean_over.
    """
    if mean_over not in ("classes", "instances"):
        raise LtDetError(f"{key}.MEAN_OVER is '{mean_over}'; write classes or instances.")
    shares = torch.ones_like(counts) if mean_over == "classes" else counts
    return weights * (shares.sum() / (weights * shares).sum())


def effective_number_weights(
    counts: Tensor, beta: float, mean_over: MeanOver = "classes", key: str = "CLASS_BALANCED"
) -> Tensor:
    """w_k = (1 - beta) / (1 - beta^n_k), scaled to mean 1 (Cui et al. 2019, eq. 3 and section 4).

    1 - beta^n is computed as -expm1(n log beta) in float64: the plain form cancels for beta near 1.

    Args:
        counts: (K,) instances per class, at least 1.
        beta: in [0, 1); 0 weighs all classes alike, towards 1 the weight is 1/n.
        mean_over, key: see `with_mean_one`.

    Raises:
        LtDetError: beta out of range, an unknown mean_over.
    """
    if not 0 <= beta < 1:
        raise LtDetError(f"{key}.BETA must lie in [0, 1), but is {beta}; 0.999 and 0.9999 are usual.")
    weights = -1.0 / torch.expm1(counts.double() * np.log(beta)) if beta > 0 else torch.ones_like(counts)
    return with_mean_one(weights, counts, mean_over, key)


def with_background(values: Tensor, neutral: float) -> Tensor:
    """(K,) class values to (K+1,), background being the neutral, average class."""
    return torch.cat([values, values.new_tensor([neutral])])
