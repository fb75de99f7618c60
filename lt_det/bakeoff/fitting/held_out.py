"""A quick measure on images that are held out: average precision of their RoIs, without boxes."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lt_det.bakeoff.cache.tables import RoiTable
from lt_det.bakeoff.candidates.sampling import at_most

_FOREGROUND = 1500  # rows to measure on, but at least `_PER_CLASS` of each class that has them
_PER_CLASS = 4
_BACKGROUND = 1500
_AT_ONCE = 1 << 20  # scores


class HeldOut:
    """A sample of the RoIs of held-out images, the rarest classes as fully as the most frequent ones.

    Args:
        rois: the table.
        images: indices of the images.
        seed: chooses the rows.
        device: of the features.

    Attributes:
        features: (M, D) float32.
    """

    def __init__(
        self, rois: RoiTable, images: NDArray[np.int64], *, seed: int, device: torch.device | str = "cpu"
    ) -> None:
        chosen = np.zeros(len(rois.image_ids), dtype=bool)
        chosen[images] = True
        rows, weights = _sample(rois, np.flatnonzero(chosen[rois.images]), np.random.default_rng(seed))
        order = np.argsort(rows)  # read faster
        rows, weights = rows[order], weights[order]
        self.features = torch.from_numpy(np.take(rois.features, rows, axis=0)).float().to(device)
        self._labels = torch.from_numpy(rois.labels[rows]).to(device)
        self._weights = torch.from_numpy(weights.astype(np.float32)).to(device)
        self._num_classes = rois.num_classes

    def average_precision(self, scores: Tensor) -> float:
        """Mean over the classes of the average precision of their scores.

        Like a detector's AP it depends on the order of the scores of a class over all images, background included, and
        not on their values. Boxes and duplicates play no part.

        Args:
            scores: (M, K+1), those of `features`.

        Returns:
            0 to 1; 0 if no image has a foreground RoI, or any RoI.
        """
        if not len(scores):
            return 0.0
        found = []
        for classes in torch.arange(self._num_classes, device=scores.device).split(max(1, _AT_ONCE // len(scores))):
            order = scores[:, classes].t().argsort(dim=1, descending=True)
            weights = self._weights[order]
            true = weights * (self._labels[order] == classes.unsqueeze(1))
            precision = true.cumsum(dim=1) / weights.cumsum(dim=1)
            total = true.sum(dim=1)
            found.append(((precision * true).sum(dim=1) / total)[total > 0])
        by_class = torch.cat(found)
        return float(by_class.mean()) if len(by_class) else 0.0


def _sample(
    rois: RoiTable, rows: NDArray[np.int64], generator: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Some of the rows, and how many RoIs each stands for."""
    rows = generator.permutation(rows)
    labels = rois.labels[rows]
    present = len(np.unique(labels[labels < rois.num_classes]))
    limits = np.full(rois.num_classes + 1, max(_PER_CLASS, _FOREGROUND // max(present, 1)))
    limits[-1] = _BACKGROUND
    kept = at_most(labels, limits)
    weights = rois.weights[rows].astype(np.float64)
    totals = np.bincount(labels, weights, minlength=len(limits))
    kept_totals = np.bincount(labels[kept], weights[kept], minlength=len(limits))
    factors = np.divide(totals, kept_totals, out=np.ones(len(limits)), where=kept_totals > 0)
    return rows[kept], weights[kept] * factors[labels[kept]]
