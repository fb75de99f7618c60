"""Effective number of samples and class weights for the user's own counts; no detector is needed.

Cui et al. 2019, https://arxiv.org/abs/1901.05555.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from lt_det.evaluation.diagnosis_schema import BETAS, EffectiveNumber
from lt_det.losses import effective_number_weights


def effective_numbers(counts: NDArray[np.int64]) -> list[EffectiveNumber]:
    """E_n and the weights of (K,) counts, for each beta of the paper. A class without instances counts as one."""
    n = np.maximum(counts, 1)
    return [
        EffectiveNumber(
            beta=beta,
            numbers=(-np.expm1(n * math.log(beta)) / (1 - beta)).tolist(),
            weights=effective_number_weights(n, beta).tolist(),
        )
        for beta in BETAS
    ]
