"""Margins of the training RoIs by class, against the target of the label-distribution-aware margin loss.

Cao et al. 2019, section 3, https://arxiv.org/abs/1906.07413: the margin of a class is the smallest one of its samples,
and the best trade-off between classes has margins proportional to n^(-1/4).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lt_det.evaluation.diagnosis_schema import Margins, WeightNorms
from lt_det.evaluation.schema import Numbers
from lt_det.losses import ClassReweighting, LDAMLoss

_QUANTILES = (0.0, 0.25, 0.5, 0.75)


def margins_by_class(
    labels: NDArray[np.int64], margins: NDArray[np.float64], counts: NDArray[np.int64], loss: Any
) -> Margins:
    """Quantiles of the margins of each class.

    Args:
        labels: (F,) classes of the foreground RoIs.
        margins: (F,) their margins.
        counts: (K,) training instances n.
        loss: of the detector; LDAM has a target of its own.
    """
    K = len(counts)
    order = np.argsort(labels, kind="stable")
    parts = np.split(margins[order], np.searchsorted(labels[order], np.arange(1, K)))
    quantiles: list[Numbers] = [
        [float(np.quantile(part, q)) if len(part) else None for part in parts] for q in _QUANTILES
    ]
    constant = ldam_constant(loss, counts)
    return Margins(
        minimum=quantiles[0],
        lower_quartile=quantiles[1],
        median=quantiles[2],
        upper_quartile=quantiles[3],
        negative=[float((part < 0).mean()) if len(part) else None for part in parts],
        smallest_class=int(labels[margins.argmin()]) if len(margins) else None,
        constant=_same_sum(quantiles[2], counts) if constant is None else constant,
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
