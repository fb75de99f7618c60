"""Margins of the training RoIs by class, against the target of the label-distribution-aware margin loss.

Cao et al. 2019, section 3, https://arxiv.org/abs/1906.07413: the margin of a class is the smallest one of its samples,
and the best trade-off between classes has margins proportional to n^(-1/4).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lt_det.bakeoff.diagnosis.quantiles import quantiles
from lt_det.evaluation.diagnosis_schema import Margins, WeightNorms
from lt_det.evaluation.schema import Numbers
from lt_det.losses import ClassReweighting, LDAMLoss

_QUANTILES = (0.0, 0.25, 0.5, 0.75)


def margins_by_class(
    labels: NDArray[np.int64],
    margins: NDArray[np.float64],
    counts: NDArray[np.int64],
    loss: Any,
    weights: NDArray[np.float64] | None = None,
) -> Margins:
    """Quantiles of the margins of each class.

    Args:
        labels: (F,) classes of the foreground RoIs.
        margins: (F,) their margins.
        counts: (K,) training instances n.
        loss: of the detector; LDAM has a target of its own.
        weights: (F,) how many RoIs each stands for; None: every RoI counts once.
    """
    K = len(counts)
    order = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[order], np.arange(1, K))
    parts = np.split(margins[order], starts)
    stands_for = np.split(np.ones_like(margins) if weights is None else weights[order], starts)
    by_class = [
        quantiles(part, weight, _QUANTILES) if len(part) else [None] * len(_QUANTILES)
        for part, weight in zip(parts, stands_for, strict=True)
    ]
    minimum, lower, median, upper = (list(column) for column in zip(*by_class, strict=True))
    constant = ldam_constant(loss, counts)
    return Margins(
        minimum=minimum,
        lower_quartile=lower,
        median=median,
        upper_quartile=upper,
        negative=[
            float(np.average(part < 0, weights=weight)) if len(part) else None
            for part, weight in zip(parts, stands_for, strict=True)
        ],
        smallest_class=int(labels[margins.argmin()]) if len(margins) else None,
        constant=_same_sum(median, counts) if constant is None else constant,
        is_ldam=constant is not None,
    )


def ldam_constant(loss: Any, counts: NDArray[np.int64]) -> float | None:
    """C of s Delta_c = C / n_c^(1/4); None for other losses than LDAM, and for its uniform margins."""
    inner = loss.loss if isinstance(loss, ClassReweighting) else loss
    if not isinstance(inner, LDAMLoss):
        return None
    targets = inner.scale * inner.margins[: len(counts)].double().cpu().numpy()
    constants = targets * np.maximum(counts, 1) ** 0.25
    return float(constants[0]) if np.allclose(constants, constants[0]) else None


def _same_sum(medians: Numbers, counts: NDArray[np.int64]) -> float | None:
    """C for which the targets of the classes with RoIs have the same sum as the positive medians."""
    known = [(median, n) for median, n in zip(medians, np.maximum(counts, 1), strict=True) if median is not None]
    total = sum(max(median, 0.0) for median, _ in known)
    return float(total / sum(n**-0.25 for _, n in known)) if total > 0 else None


def weight_norms(norms: NDArray[np.float64], counts: NDArray[np.int64], has_effect: bool) -> WeightNorms:
    """|| w_c || of (K,) classes and its correlation with log n."""
    log_n = np.log(np.maximum(counts, 1))
    varies = len(norms) > 1 and np.ptp(norms) > 0 and np.ptp(log_n) > 0
    correlation = float(np.corrcoef(norms, log_n)[0, 1]) if varies else None
    return WeightNorms(norms=norms.tolist(), correlation=correlation, has_effect=has_effect)
