"""Endless training samplers: the same stream for any number of processes, of which each takes its slice."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from detectron2.data.samplers import RepeatFactorTrainingSampler, TrainingSampler
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Sampler

from lt_det.data.cache.records import Records
from lt_det.errors import LtDetError
from lt_det.trainer_keys import SAMPLER_START, register_applier

_DRAWN_AT_ONCE = 4096


class ClassAwareTrainingSampler(TrainingSampler):
    """Draws a class, each with the same probability, then one of its images.

    Shen et al. 2016, section 3.3, https://arxiv.org/abs/1512.05830, who go through shuffled lists of classes and images
    instead of drawing. An image comes with all its annotations, so that frequent classes are still seen most. Images
    without annotations are never drawn.
    """

    def __init__(self, dataset_dicts: Sequence[Mapping[str, Any]], seed: int | None = None) -> None:
        """
        Args:
            dataset_dicts: images in Detectron2's form.
            seed: the same in all processes; None: a random seed that they share.

        Raises:
            LtDetError: no image has an annotation.
        """
        super().__init__(len(dataset_dicts), seed=seed)
        images, classes = annotated_classes(dataset_dicts)
        if not len(images):
            raise LtDetError(
                "ClassAwareTrainingSampler draws images by class, but no training image has an annotation; "
                "check DATASETS.TRAIN."
            )
        pairs = np.unique(np.stack([classes, images]), axis=1)  # once per image and class; sorted by class
        _, counts = np.unique(pairs[0], return_counts=True)
        self._images = torch.from_numpy(pairs[1].copy())
        self._counts = torch.from_numpy(counts)
        self._starts = self._counts.cumsum(0) - self._counts

    def weights(self) -> NDArray[np.float64]:
        """(N,) how often each image is drawn, up to a factor."""
        counts = self._counts.numpy()
        weights = np.zeros(self._size)
        np.add.at(weights, self._images.numpy(), np.repeat(1 / counts, counts))
        return weights

    def _infinite_indices(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self._seed)
        while True:
            classes = torch.randint(len(self._counts), (_DRAWN_AT_ONCE,), generator=generator)
            fractions = torch.rand(_DRAWN_AT_ONCE, generator=generator, dtype=torch.float64)
            places = self._starts[classes] + (fractions * self._counts[classes]).long()
            yield from self._images[places].tolist()


class RepeatFactorSampler(RepeatFactorTrainingSampler):
    """Exactly Detectron2's stream, without its loop over the images: a resumed training skips many epochs."""

    def _get_epoch_indices(self, generator: torch.Generator) -> Tensor:
        up = torch.rand(len(self._frac_part), generator=generator) < self._frac_part
        return torch.repeat_interleave((self._int_part + up).long())


class DeferredSampler(Sampler[int]):
    """Indices from one endless sampler, and later in the training from another: deferred re-sampling.

    Cao et al. 2019, section 3.3, https://arxiv.org/abs/1906.07413: features are learned from the original
    distribution, and the classifier is balanced afterwards.
    """

    def __init__(self, first: Sampler[int], then: Sampler[int], switch_after: int) -> None:
        """
        Args:
            first, then: endless samplers.
            switch_after: indices that each process takes from `first`.
        """
        self.first, self.then, self.switch_after = first, then, switch_after
        register_applier(self, SAMPLER_START)

    def __iter__(self) -> Iterator[int]:
        yield from itertools.islice(self.first, self.switch_after)
        yield from self.then


class ShapeSampler(Sampler[int]):
    """Reorders an endless sampler so that each batch has either wide images only or none.

    The batches are those of Detectron2's aspect ratio grouping with one worker (several workers take turns there). But
    Detectron2 takes images from the loader until a batch is full; here no image is held back, so that a resumed
    training knows which images were used.
    """

    def __init__(self, sampler: Sampler[int], is_wide: Sequence[bool], batch_size: int) -> None:
        """
        Args:
            sampler: endless.
            is_wide: (N,) whether each image is wider than high.
            batch_size: images per process and forward pass.
        """
        self.sampler, self.batch_size = sampler, batch_size
        self._is_wide = bytes(is_wide)  # one byte per image, in memory that workers share

    def __iter__(self) -> Iterator[int]:
        batches: tuple[list[int], list[int]] = ([], [])
        for index in self.sampler:
            batch = batches[self._is_wide[index]]
            batch.append(index)
            if len(batch) == self.batch_size:
                yield from batch
                batch.clear()


class NumberedSampler(Sampler[tuple[int, int]]):
    """Positions and indices of an endless sampler's stream, from position `skipped` on: for a resumed training."""

    def __init__(self, sampler: Sampler[int]) -> None:
        """
        Args:
            sampler: endless.
        """
        self.sampler, self.skipped = sampler, 0

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return itertools.islice(enumerate(self.sampler), self.skipped, None)


def annotated_classes(dataset_dicts: Sequence[Mapping[str, Any]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The image index and the class of each annotation, as two (A,) arrays; images may have no annotations."""
    if isinstance(dataset_dicts, Records):
        return dataset_dicts.annotated_classes()
    classes = [[annotation["category_id"] for annotation in image.get("annotations", ())] for image in dataset_dicts]
    images = np.repeat(np.arange(len(classes)), [len(in_image) for in_image in classes])
    return images, np.fromiter(itertools.chain.from_iterable(classes), dtype=np.int64, count=len(images))
