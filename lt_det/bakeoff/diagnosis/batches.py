"""Tables of RoIs, read a few images at a time: LVIS has five million RoIs, which do not fit in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lt_det.bakeoff.cache.tables import RoiTable
from lt_det.bakeoff.diagnosis.last_layer import Batch, LastLayer
from lt_det.evaluation.progress import Track

_MAX_ROWS = 8192


@dataclass(frozen=True, eq=False)
class Rois:
    """Rows of features on disk.

    Attributes:
        features: (R, D), memory-mapped.
        rows: (N,) which rows of `features` these RoIs are.
        labels, images, weights: (N,), see `RoiTable`.
    """

    features: Any
    rows: NDArray[np.int64]
    labels: NDArray[np.int64]
    images: NDArray[np.int64]
    weights: NDArray[np.float32]

    @classmethod
    def of_table(cls, table: RoiTable, mask: NDArray[np.bool_] | None = None) -> Rois:
        """The rows of a table, or those that `mask` (N,) has."""
        rows = np.arange(len(table.labels)) if mask is None else np.flatnonzero(mask)
        labels, images, weights = np.asarray(table.labels), np.asarray(table.images), np.asarray(table.weights)
        return cls(table.features, rows, labels[rows], images[rows], weights[rows])

    def read(self, chosen: NDArray[np.int64], layer: LastLayer) -> Batch:
        """The batch of the RoIs with these indices, which are ascending."""
        features = np.asarray(self.features[self.rows[chosen]])
        return layer.batch(features, self.labels[chosen], self.images[chosen], self.weights[chosen])

    def iterations(self, images_per_iteration: int, seed: int) -> list[list[NDArray[np.int64]]]:
        """Divide the images at random into the iterations of an epoch, and each iteration into chunks of whole images.

        Args:
            images_per_iteration: mean number of images; no iteration has more than one image more than another.
            seed: of the order.

        Returns:
            For each iteration its chunks: ascending indices of RoIs, `_MAX_ROWS` at most unless one image has more.
        """
        order = np.argsort(self.images, kind="stable")
        images, starts = np.unique(self.images[order], return_index=True)
        rows = np.split(order, starts[1:])
        shuffled = np.random.default_rng(seed).permutation(len(images))
        parts = np.array_split(shuffled, max(1, round(len(images) / images_per_iteration)))
        return [_chunks([rows[image] for image in np.sort(part)]) for part in parts if len(part)]


def each_batch(rois: Rois, layer: LastLayer, track: Track = iter) -> Iterator[Batch]:
    """All RoIs, image by image in their order."""
    iterations = rois.iterations(max(1, len(np.unique(rois.images))), seed=0)
    chunks = [chunk for chunks in iterations for chunk in chunks]
    for index in track(range(len(chunks))):
        yield rois.read(chunks[index], layer)


def _chunks(images: list[NDArray[np.int64]]) -> list[NDArray[np.int64]]:
    chunks: list[list[NDArray[np.int64]]] = [[]]
    size = 0
    for rows in images:
        if size and size + len(rows) > _MAX_ROWS:
            chunks.append([])
            size = 0
        chunks[-1].append(rows)
        size += len(rows)
    return [np.concatenate(chunk) for chunk in chunks]
