"""Class weights, computed from the class counts of the training set."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from numpy.typing import NDArray
from torch import Tensor

from lt_det.errors import LtDetError

Counts = Sequence[int] | Sequence[float] | NDArray[Any] | Tensor
MeanOver = Literal["classes", "instances"]

# Values of MODEL.LONG_TAIL.REWEIGHTING.WEIGHTS; any other value is the path of a file.
WEIGHTS = ("effective_number", "inverse_frequency", "sqrt")


def checked_counts(counts: Counts, num_classes: int, loss: str) -> Tensor:
    """(K,) counts as float64, at least 1.

    Raises:
        LtDetError: there are not K counts, or a count is negative.
    """
    result = torch.as_tensor(counts, dtype=torch.float64)
    if result.shape != (num_classes,):
        raise LtDetError(f"{loss} needs {num_classes} counts, one per class, but got {tuple(result.shape)}.")
    if (result < 0).any():
        raise LtDetError(f"{loss} needs counts of at least 0, but class {int(result.argmin())} has {result.min():g}.")
    return result.clamp(min=1)


def with_mean_one(weights: Tensor, counts: Tensor, mean_over: MeanOver, key: str) -> Tensor:
    """Scale the weights to mean 1.

    Args:
        weights: (K,).
        counts: (K,) instances per class, at least 1.
        mean_over: "classes" for the plain mean over the classes, as in the literature, or "instances" for the mean over
            the training instances. With "instances" the average foreground RoI weighs as much as a background RoI.
        key: name of the config node, for error messages.

    Returns:
        (K,) weights.

    Raises:
        LtDetError: mean_over is unknown.
    """
    if mean_over not in ("classes", "instances"):
        raise LtDetError(f"{key}.MEAN_OVER is '{mean_over}'; write classes or instances.")
    occurrences = torch.ones_like(counts) if mean_over == "classes" else counts
    return weights * (occurrences.sum() / (weights * occurrences).sum())


def effective_number_weights(
    counts: Counts, beta: float, mean_over: MeanOver = "classes", key: str = "REWEIGHTING"
) -> Tensor:
    """w_k = (1 - beta) / (1 - beta^n_k), scaled to mean 1 (Cui et al. 2019, eq. 3 and section 4).

    1 - beta^n is computed as -expm1(n log beta) in float64, because the plain form loses digits for beta close to 1.

    Args:
        counts: (K,) instances per class; a class without instances counts as one.
        beta: in [0, 1); 0 gives all classes the same weight, and towards 1 the weight approaches 1/n.
        mean_over, key: see `with_mean_one`.

    Returns:
        (K,) float64.

    Raises:
        LtDetError: beta is out of range, mean_over is unknown, or a count is negative.

    >>> effective_number_weights([1, 10, 100], beta=0.0).tolist()
    [1.0, 1.0, 1.0]
    """
    if not 0 <= beta < 1:
        raise LtDetError(f"{key}.BETA must lie in [0, 1), but is {beta}; 0.999 and 0.9999 are usual.")
    n = checked_counts(counts, len(counts), key)
    weights = -1.0 / torch.expm1(n * math.log(beta)) if beta > 0 else torch.ones_like(n)
    return with_mean_one(weights, n, mean_over, key)


def inverse_frequency_weights(
    counts: Counts, power: float = 1.0, mean_over: MeanOver = "classes", key: str = "REWEIGHTING"
) -> Tensor:
    """w_k = 1 / n_k^power, scaled to mean 1.

    Args:
        counts: (K,) instances per class; a class without instances counts as one.
        power: in [0, 1]; 0 gives all classes the same weight, 0.5 is the square root.
        mean_over, key: see `with_mean_one`.

    Returns:
        (K,) float64.

    Raises:
        LtDetError: power is out of range, mean_over is unknown, or a count is negative.

    >>> inverse_frequency_weights([1, 4], power=0.5).tolist()
    [1.3333333333333333, 0.6666666666666666]
    """
    if not 0 <= power <= 1:
        raise LtDetError(f"{key}.POWER must lie in [0, 1], but is {power}; 0.5 and 1 are usual.")
    n = checked_counts(counts, len(counts), key)
    return with_mean_one(n**-power, n, mean_over, key)


def weights_by_name(
    name: str, counts: Counts, *, beta: float = 0.9999, power: float = 1.0, mean_over: MeanOver = "classes"
) -> Tensor:
    """The (K,) class weights that MODEL.LONG_TAIL.REWEIGHTING.WEIGHTS names.

    Args:
        name: one of `WEIGHTS`.
        counts: (K,) instances per class.
        beta: see `effective_number_weights`; only for "effective_number".
        power: see `inverse_frequency_weights`; only for "inverse_frequency".
        mean_over: see `with_mean_one`.

    Raises:
        LtDetError: the name is unknown, a value is out of range, or beta or power is set for weights that do not use
            it.
    """
    if name not in WEIGHTS:
        raise LtDetError(f"REWEIGHTING.WEIGHTS is '{name}'; write {', '.join(WEIGHTS)}, or the name of a json file.")
    if name != "effective_number" and beta != 0.9999:
        raise LtDetError(f"REWEIGHTING.BETA is {beta}, which the weights '{name}' do not use; leave it out.")
    if name != "inverse_frequency" and power != 1.0:
        raise LtDetError(
            f"REWEIGHTING.POWER is {power}, which the weights '{name}' do not use; leave it out, or set "
            "REWEIGHTING.WEIGHTS to inverse_frequency."
        )
    if name == "effective_number":
        return effective_number_weights(counts, beta, mean_over)
    return inverse_frequency_weights(counts, 0.5 if name == "sqrt" else power, mean_over)


def with_background(values: Tensor, neutral: float) -> Tensor:
    """Extend (K,) class values to (K+1,): background has the value `neutral`."""
    return torch.cat([values, values.new_full((1,), neutral)])  # a tensor of a list would be copied to the GPU
