"""The influence of each foreground RoI on the last layer, against its margin.

Park et al., "Influence-Balanced Loss for Imbalanced Visual Classification", ICCV 2021, eq. 8,
https://arxiv.org/abs/2110.02444: || softmax(z) - onehot ||_1 || h ||_1. The first norm is that of the gradient of the
cross-entropy; here it is that of the detector's own loss, so that the quantity is defined for all losses.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lt_det.bakeoff.diagnosis.last_layer import Batch
from lt_det.bakeoff.diagnosis.quantiles import quantiles
from lt_det.evaluation.diagnosis_schema import Influence, InfluenceGroup
from lt_det.evaluation.schema import ALL
from lt_det.statistics.buckets import FrequencyBuckets

_BINS = 12
_FEW = 5  # RoIs, below which a bin has no median
_POINTS = 300  # of each bucket


def influence(batch: Batch) -> Tensor:
    """(N,) || dL_i / dz ||_1 || h_i ||_1 of each row."""
    return batch.gradient.abs().sum(dim=1) * batch.features.abs().sum(dim=1)


@dataclass(frozen=True, eq=False)
class Foreground:
    """The foreground RoIs of a table, and the influence of its background.

    Attributes:
        labels, margins, values, weights: (F,) class, margin, influence, and how many RoIs each stands for.
        background: sum of the influence of the background RoIs.
    """

    labels: NDArray[np.int64]
    margins: NDArray[np.float64]
    values: NDArray[np.float64]
    weights: NDArray[np.float64]
    background: float

    @property
    def stands_for(self) -> NDArray[np.float64]:
        """(F,) weights where images or RoIs were left out, so that some stand for several; else ones.

        Without a sample, a weight below 1 is the probability that training samples a ground-truth box, which is
        measured once in any case.
        """
        return self.weights if (self.weights > 1).any() else np.ones_like(self.weights)


class ForegroundCollector:
    """Collects a `Foreground` from batches."""

    def __init__(self) -> None:
        self._columns: list[list[NDArray[Any]]] = [[np.zeros(0, dtype=np.int64), *[np.zeros(0)] * 3]]
        self._background = 0.0

    def add(self, batch: Batch) -> None:
        values, weights, rows = influence(batch).double(), batch.weights.double(), batch.foreground
        is_background = batch.labels >= batch.layer.num_classes
        self._background += float((values * weights)[is_background].sum())
        columns = (batch.labels[rows], batch.margins, values[rows], weights[rows])
        self._columns.append([column.cpu().numpy() for column in columns])

    def adding(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The batches, each of which is added when it is reached."""
        for batch in batches:
            self.add(batch)
            yield batch

    def result(self) -> Foreground:
        labels, margins, values, weights = (np.concatenate(column) for column in zip(*self._columns, strict=True))
        return Foreground(labels, margins, values, weights, self._background)


def influence_by_margin(foreground: Foreground, buckets: FrequencyBuckets, seed: int) -> Influence:
    """Summarize the influence of all foreground RoIs.

    Args:
        foreground: of all training RoIs.
        buckets: of the classes.
        seed: of the sample of points.
    """
    labels, margins, values = foreground.labels, foreground.margins, foreground.values
    weights = foreground.stands_for
    weighted = values * foreground.weights
    total = float(weighted.sum()) + foreground.background
    low, high = np.quantile(margins, (0.005, 0.995)) if len(margins) else (0.0, 0.0)
    edges = np.linspace(low, high if high > low else low + 1, _BINS + 1)
    bins = np.clip(np.digitize(margins, edges) - 1, 0, _BINS - 1)
    bucket_of = buckets.assignment[labels]
    masks = {ALL: np.ones(len(labels), dtype=bool)}
    masks |= {name: bucket_of == index for index, name in enumerate(buckets.names)}

    def group(mask: NDArray[np.bool_]) -> InfluenceGroup | None:
        if not mask.any():
            return None
        in_bins = [mask & (bins == index) for index in range(_BINS)]
        return InfluenceGroup(
            rois=int(mask.sum()),
            fraction=float(weighted[mask].sum() / total) if total > 0 else 0.0,
            quartiles=quantiles(values[mask], weights[mask], (0.25, 0.5, 0.75)),
            by_margin=[
                quantiles(values[inside], weights[inside], [0.5])[0] if inside.sum() >= _FEW else None
                for inside in in_bins
            ],
        )

    descending = np.argsort(values)[::-1]
    tenth = np.cumsum(weights[descending]) <= weights.sum() / 10
    top = descending[: max(1, int(tenth.sum()))]
    points = _sample(bucket_of, seed)
    return Influence(
        groups={name: group(mask) for name, mask in masks.items()},
        background_fraction=foreground.background / total if total > 0 else 0.0,
        top_fraction=float(weighted[top].sum() / weighted.sum()) if weighted.sum() > 0 else None,
        edges=edges.tolist(),
        classes=labels[points].tolist(),
        margins=margins[points].tolist(),
        values=values[points].tolist(),
    )


def _sample(bucket_of: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Ascending indices, at most `_POINTS` of each bucket."""
    generator = np.random.default_rng(seed)
    members = [np.flatnonzero(bucket_of == bucket) for bucket in np.unique(bucket_of)]
    chosen = [generator.permutation(rows)[:_POINTS] for rows in members]
    return np.sort(np.concatenate(chosen)) if chosen else np.zeros(0, dtype=np.int64)
