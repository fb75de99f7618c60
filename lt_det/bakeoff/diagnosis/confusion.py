"""Which classes take the place of which: confusion between rare and frequent classes."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from lt_det.bakeoff.diagnosis.last_layer import Batch, LastLayer
from lt_det.evaluation.diagnosis_schema import ConfusedPair, Confusion, ConfusionGroup
from lt_det.statistics.buckets import FrequencyBuckets

NO_BUCKET = "no bucket"
_PAIRS = 20
_FEW = 5  # RoIs, below which a class is not named in a pair


class ConfusionCounts:
    """Counts the foreground RoIs by their class and by the class that scores highest of the K classes.

    Attributes:
        rois: (K, K) number of RoIs; rows are the right classes.
        images: (K, K) number of images with such a RoI.
        background: (K,) number of RoIs that are classified as background.
    """

    def __init__(self, layer: LastLayer) -> None:
        self.layer = layer
        K = layer.num_classes
        self.rois = np.zeros((K, K), dtype=np.int64)
        self.images = np.zeros((K, K), dtype=np.int64)
        self.background = np.zeros(K, dtype=np.int64)

    def add(self, batch: Batch) -> None:
        """Add the RoIs of whole images."""
        K, rows = self.layer.num_classes, batch.foreground
        y, highest = batch.labels[rows], batch.foreground_scores[:, :K].argmax(dim=1)
        is_background = self.layer.loss.predicted_classes(batch.logits[rows]) == K
        pairs = y * K + highest
        self.rois += torch.bincount(pairs, minlength=K * K).reshape(K, K).cpu().numpy()
        in_images = torch.unique(batch.images[rows] * K * K + pairs) % (K * K)
        self.images += torch.bincount(in_images, minlength=K * K).reshape(K, K).cpu().numpy()
        self.background += torch.bincount(y[is_background], minlength=K).cpu().numpy()

    def result(self, buckets: FrequencyBuckets) -> Confusion:
        totals = self.rois.sum(axis=1)
        fractions = self.rois / np.maximum(totals, 1)[:, None]
        names = [*buckets.names, *([NO_BUCKET] if (buckets.assignment < 0).any() else [])]
        bucket_of = np.where(buckets.assignment < 0, len(buckets.names), buckets.assignment)
        groups: dict[str, ConfusionGroup | None] = {}
        for bucket, name in enumerate(names):
            members = np.flatnonzero((bucket_of == bucket) & (totals > 0))
            groups[name] = self._group(members, fractions, totals, names, bucket_of) if len(members) else None
        return Confusion(groups=groups, pairs=self._pairs(fractions, totals, bucket_of))

    def _group(
        self,
        members: NDArray[np.int64],
        fractions: NDArray[np.float64],
        totals: NDArray[np.int64],
        names: list[str],
        bucket_of: NDArray[np.int64],
    ) -> ConfusionGroup:
        correct = fractions[members, members]
        wrong = fractions[members].copy()
        wrong[np.arange(len(members)), members] = 0
        return ConfusionGroup(
            classes=len(members),
            correct=float(correct.mean()),
            taken_by={
                name: float(wrong[:, bucket_of == bucket].sum(axis=1).mean()) for bucket, name in enumerate(names)
            },
            background=float((self.background[members] / totals[members]).mean()),
        )

    def _pairs(
        self, fractions: NDArray[np.float64], totals: NDArray[np.int64], bucket_of: NDArray[np.int64]
    ) -> list[ConfusedPair]:
        one_sided = fractions - fractions.T
        allowed = (self.rois > 0) & (totals >= _FEW)[:, None] & ~np.eye(len(totals), dtype=bool)
        if len(np.unique(bucket_of)) > 1:
            allowed &= bucket_of[:, None] != bucket_of[None, :]
        true, predicted = np.nonzero(allowed & (one_sided > 0))
        order = np.lexsort((-self.rois[true, predicted], -one_sided[true, predicted]))[:_PAIRS]
        return [
            ConfusedPair(
                true=int(i),
                predicted=int(j),
                rois=int(self.rois[i, j]),
                images=int(self.images[i, j]),
                fraction=float(fractions[i, j]),
                reverse=float(fractions[j, i]) if totals[j] else None,
            )
            for i, j in zip(true[order], predicted[order], strict=True)
        ]
