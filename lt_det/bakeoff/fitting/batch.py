"""Batches of RoI features from a table that may be larger than the memory."""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from lt_det.bakeoff.cache.tables import RoiTable


@dataclass(frozen=True, eq=False)
class Batch:
    """Sampled rows of a `RoiTable`.

    Attributes:
        features: (B, D) float32.
        labels: (B,) int64, K for background.
    """

    features: Tensor
    labels: Tensor

    @cached_property
    def normalized(self) -> Tensor:
        """(B, D) features of length 1, for cosine classifiers."""
        return F.normalize(self.features, dim=1)


class RoiBatches:
    """An endless stream of batches. Rows are sampled with replacement, with probability proportional to their weight.

    The stream follows from the seed and the weights alone, so that candidates with the same sampler are trained on the
    same batches.

    Args:
        rois: the table; its features may be memory-mapped.
        weights: (N,) of at least 0, see `row_weights`.
        batch_size: B.
        seed: or several numbers that make one.
        device: of the batches. On a GPU the whole table is copied there if it fits into half of the free memory.
        synthetic: (S, D) features and (S,) classes that are sampled like rows of the table of weight 1. The fraction of
            background stays as it is without them.
    """

    def __init__(
        self,
        rois: RoiTable,
        weights: NDArray[np.float64],
        *,
        batch_size: int,
        seed: int | tuple[int, ...],
        device: torch.device | str = "cpu",
        synthetic: tuple[NDArray[np.float32], NDArray[np.int64]] | None = None,
    ) -> None:
        self._features, self._labels = rois.features, rois.labels
        self._synthetic = None
        if synthetic is not None and len(synthetic[0]):
            self._synthetic = synthetic[0]
            self._labels = np.concatenate([rois.labels, synthetic[1]])
            foreground = rois.labels < rois.num_classes
            total = weights[foreground].sum()
            weights = np.concatenate([weights, np.ones(len(synthetic[0]))])
            weights[self._labels < rois.num_classes] *= total / (total + len(synthetic[0]))
        self._rows = np.flatnonzero(weights > 0)
        self._cumulative = np.cumsum(weights[self._rows])
        self._size = batch_size
        self._generator = np.random.default_rng(seed)
        self._device = torch.device(device)
        self._on_device = self._copied_to_device()
        if self._on_device is None:
            read_ahead(rois.features)

    def draw(self) -> Batch:
        """Sample the next batch."""
        at = self._generator.random(self._size)
        at.sort()  # rows in ascending order are read faster
        places = np.searchsorted(self._cumulative, at * self._cumulative[-1], side="right")
        rows = self._rows[np.minimum(places, len(self._rows) - 1)]
        labels = torch.from_numpy(self._labels[rows])
        if self._on_device is not None:
            features = self._on_device[torch.from_numpy(rows).to(self._device)].float()
            return Batch(features, labels.to(self._device))
        return Batch(self._gathered(rows).to(self._device), labels.to(self._device))

    def _gathered(self, rows: NDArray[np.int64]) -> Tensor:
        cached = len(rows) if self._synthetic is None else int(np.searchsorted(rows, len(self._features)))
        features = torch.from_numpy(np.take(self._features, rows[:cached], axis=0)).float()
        if self._synthetic is None or cached == len(rows):
            return features
        synthetic = np.take(self._synthetic, rows[cached:] - len(self._features), axis=0)
        return torch.cat([features, torch.from_numpy(synthetic)])

    def _copied_to_device(self) -> Tensor | None:
        if self._device.type != "cuda":
            return None
        table = self._features
        free, _ = torch.cuda.mem_get_info(self._device)
        if table.nbytes > free / 2:
            return None
        made = 0 if self._synthetic is None else len(self._synthetic)
        dtype = torch.from_numpy(np.empty(0, table.dtype)).dtype
        copied = torch.empty((len(table) + made, table.shape[1]), dtype=dtype, device=self._device)
        for start in range(0, len(table), 65536):
            part = np.ascontiguousarray(table[start : start + 65536])
            copied[start : start + len(part)] = torch.from_numpy(part.copy() if not part.flags.writeable else part)
        if self._synthetic is not None:
            copied[len(table) :] = torch.from_numpy(self._synthetic)
        return copied


def read_ahead(features: NDArray[np.floating]) -> None:
    """Bring memory-mapped features into the page cache, in the order of the file, where they fit into memory.

    Rows sampled at random would otherwise be read one by one, which takes far longer. Where they do not fit, the system
    is advised not to read what is around each row, which may be megabytes.
    """
    if not isinstance(features, np.memmap) or not features.size:
        return
    if features.nbytes > _available_memory() / 2:
        if isinstance(features.base, mmap.mmap):
            features.base.madvise(mmap.MADV_RANDOM)
        return
    flat = features.reshape(-1).view(np.uint8)
    for start in range(0, len(flat), 1 << 26):
        flat[start : start + (1 << 26) : 4096].max()


def _available_memory() -> float:
    """Bytes that programs can get without swapping; unlimited where the system does not say."""
    try:
        with open("/proc/meminfo") as file:
            sizes = dict(line.split(":") for line in file)
        return float(sizes["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return float("inf")
