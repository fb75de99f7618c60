"""Which classes take the place of which: confusion between rare and frequent classes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lt_det.bakeoff.diagnosis.last_layer import Batch, LastLayer
from lt_det.evaluation.diagnosis_schema import ConfusedPair, Confusion, ConfusionGroup
from lt_det.statistics.buckets import FrequencyBuckets

NO_BUCKET = "no bucket"
_PAIRS = 20
_ROWS_AT_ONCE = 256
_FEW = 5  # RoIs, below which a class is not named in a pair


class ConfusionCounts:
    """Counts the foreground RoIs by their class and by the class that scores highest of the K classes.

    Only pairs that occur are kept: a table of all of them would take 1.4 GB for 13,204 classes.

    Attributes:
        background: (K,) number of RoIs that are classified as background.
    """

    def __init__(self, layer: LastLayer) -> None:
        self.layer = layer
        self.background = np.zeros(layer.num_classes, dtype=np.int64)
        # Of each batch: pairs as row * K + column, and how many RoIs or images have them.
        self._rois: list[tuple[Tensor, Tensor]] = []
        self._images: list[tuple[Tensor, Tensor]] = []

    def add(self, batch: Batch) -> None:
        """Add the RoIs of whole images."""
        K, rows = self.layer.num_classes, batch.foreground
        y, highest = batch.labels[rows], batch.foreground_scores[:, :K].argmax(dim=1)
        is_background = self.layer.loss.predicted_classes(batch.logits[rows]) == K
        pairs = y * K + highest
        self._rois.append(torch.unique(pairs, return_counts=True))
        in_images = torch.unique(batch.images[rows] * K * K + pairs) % (K * K)
        self._images.append(torch.unique(in_images, return_counts=True))
        self.background += torch.bincount(y[is_background], minlength=K).cpu().numpy()

    def result(self, buckets: FrequencyBuckets) -> Confusion:
        pairs = _Pairs.of(self.layer.num_classes, self._rois, self._images)
        names = [*buckets.names, *([NO_BUCKET] if (buckets.assignment < 0).any() else [])]
        bucket_of = np.where(buckets.assignment < 0, len(buckets.names), buckets.assignment)
        groups: dict[str, ConfusionGroup | None] = {}
        for bucket, name in enumerate(names):
            members = np.flatnonzero((bucket_of == bucket) & (pairs.totals > 0))
            groups[name] = self._group(members, pairs, names, bucket_of) if len(members) else None
        return Confusion(groups=groups, pairs=pairs.one_sided(bucket_of))

    def _group(
        self, members: NDArray[np.int64], pairs: _Pairs, names: list[str], bucket_of: NDArray[np.int64]
    ) -> ConfusionGroup:
        correct = np.zeros(len(members))
        taken = np.zeros((len(names), len(members)))
        for part in np.array_split(np.arange(len(members)), -(-len(members) // _ROWS_AT_ONCE)):
            wrong = pairs.rows(members[part])
            correct[part] = wrong[np.arange(len(part)), members[part]]
            wrong[np.arange(len(part)), members[part]] = 0
            for bucket in range(len(names)):
                taken[bucket, part] = wrong[:, bucket_of == bucket].sum(axis=1)
        return ConfusionGroup(
            classes=len(members),
            correct=float(correct.mean()),
            taken_by={name: float(taken[bucket].mean()) for bucket, name in enumerate(names)},
            background=float((self.background[members] / pairs.totals[members]).mean()),
        )


@dataclass(frozen=True, eq=False)
class _Pairs:
    """The P pairs of a right class i and a highest class j that occur, sorted by i and j.

    Attributes:
        i, j: (P,) classes.
        rois, images: (P,) number of RoIs, and of images with such a RoI.
        totals: (K,) number of RoIs of each class.
    """

    i: NDArray[np.int64]
    j: NDArray[np.int64]
    rois: NDArray[np.int64]
    images: NDArray[np.int64]
    totals: NDArray[np.int64]

    @classmethod
    def of(cls, num_classes: int, rois: list[tuple[Tensor, Tensor]], images: list[tuple[Tensor, Tensor]]) -> _Pairs:
        pairs, num_rois = _sums(rois)
        _, num_images = _sums(images)  # the same pairs
        i, j = np.divmod(pairs, num_classes)
        totals = np.zeros(num_classes, dtype=np.int64)
        np.add.at(totals, i, num_rois)
        return cls(i, j, num_rois, num_images, totals)

    @cached_property
    def fractions(self) -> NDArray[np.float64]:
        """(P,) of the RoIs of class i."""
        fractions: NDArray[np.float64] = self.rois / self.totals[self.i]
        return fractions

    def rows(self, classes: NDArray[np.int64]) -> NDArray[np.float64]:
        """(C, K) fractions of some classes i, 0 for pairs that do not occur."""
        position = np.full(len(self.totals), -1)
        position[classes] = np.arange(len(classes))
        found = position[self.i] >= 0
        table = np.zeros((len(classes), len(self.totals)))
        table[position[self.i[found]], self.j[found]] = self.fractions[found]
        return table

    def one_sided(self, bucket_of: NDArray[np.int64]) -> list[ConfusedPair]:
        """The pairs, of different buckets where there are several, that differ most from those the other way around."""
        K = len(self.totals)
        pairs, reverse_pairs = self.i * K + self.j, self.j * K + self.i
        at = np.minimum(np.searchsorted(pairs, reverse_pairs), max(len(pairs) - 1, 0))
        reverse = np.where(pairs[at] == reverse_pairs, self.fractions[at], 0.0)
        difference = self.fractions - reverse
        allowed = (self.totals[self.i] >= _FEW) & (self.i != self.j) & (difference > 0)
        if len(np.unique(bucket_of)) > 1:
            allowed &= bucket_of[self.i] != bucket_of[self.j]
        found = np.flatnonzero(allowed)
        best = found[np.lexsort((-self.rois[found], -difference[found]))[:_PAIRS]]
        return [
            ConfusedPair(
                true=int(self.i[n]),
                predicted=int(self.j[n]),
                rois=int(self.rois[n]),
                images=int(self.images[n]),
                fraction=float(self.fractions[n]),
                reverse=float(reverse[n]) if self.totals[self.j[n]] else None,
            )
            for n in best
        ]


def _sums(parts: list[tuple[Tensor, Tensor]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The different pairs of all parts, ascending, and the sum of the counts of each."""
    if not parts:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    pairs, counts = (torch.cat(tensors).cpu().numpy() for tensors in zip(*parts, strict=True))
    different, position = np.unique(pairs, return_inverse=True)
    sums = np.zeros(len(different), dtype=np.int64)
    np.add.at(sums, position.reshape(-1), counts)
    return different, sums
