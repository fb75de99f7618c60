"""A resumed training goes on in its stream of images."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from detectron2.data.common import ToIterableDataset
from detectron2.utils import comm
from torch.utils.data import DataLoader, Dataset, Sampler

from lt_det.data.sampling.samplers import NumberedSampler
from lt_det.data.worker_signals import end_only_with_parent
from lt_det.training.resume.random_numbers import seed_generators, shared_seed

logger = logging.getLogger(__name__)


class ImageStream:
    """The stream of images behind one of Detectron2's training loaders. A checkpoint keeps its seeds.

    What is drawn for an image (flip, size) depends on its place in the stream alone, with any number of loading
    processes. The stream goes on exactly, but for Detectron2's own aspect ratio grouping, whose loader takes images
    ahead until some have one shape, and for a mapper that returns None.
    """

    def __init__(self, loader: Any, seed: int = -1) -> None:
        """
        Args:
            loader: not yet iterated.
            seed: of the config; negative: a random one that the processes share.
        """
        layers = list(_layers(loader))
        for layer in layers:
            if isinstance(layer, DataLoader):
                end_only_with_parent(layer)
        self._numbered, self._seeded = None, {}
        holder = next((layer for layer in layers if isinstance(layer, ToIterableDataset)), None)
        if holder is not None:
            images = _SeededImages(holder.dataset, shared_seed(seed))
            self._seeded = {"images": images, **_seeded_samplers(holder.sampler)}
            self._numbered = NumberedSampler(holder.sampler)
            holder.dataset, holder.sampler = images, self._numbered

    def state_dict(self) -> dict[str, Any]:
        return {"seeds": {name: seeded._seed for name, seeded in self._seeded.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, seed in state["seeds"].items():
            if name in self._seeded:  # a training may be resumed with another sampler
                self._seeded[name]._seed = seed

    def skip(self, images: int) -> None:
        """Go on after `images` that each process has used before; without reading them."""
        if self._numbered is not None:
            self._numbered.skipped = images
        elif images:
            logger.warning("The images start anew: the training loader has no sampler of the kind Detectron2 makes.")


class _SeededImages(Dataset[Any]):
    """A data set, indexed by place in this process's stream and image."""

    def __init__(self, dataset: Dataset[Any], seed: int) -> None:
        self.dataset, self._seed = dataset, seed
        self._rank, self._processes = comm.get_rank(), comm.get_world_size()

    def __getitem__(self, numbered: tuple[int, int]) -> Any:
        place, index = numbered
        seed_generators(self._seed, place * self._processes + self._rank)  # the place in the stream of all processes
        return self.dataset[index]


def _layers(loader: Any) -> Iterator[Any]:
    """Detectron2 wraps data sets and loaders into each other."""
    while loader is not None:
        yield loader
        loader = getattr(loader, "dataset", getattr(loader, "_dataset", None))


def _seeded_samplers(sampler: Sampler[int]) -> dict[str, Any]:
    """The samplers that have a seed, also inside others."""
    found = {type(sampler).__name__: sampler} if hasattr(sampler, "_seed") else {}
    for name in ("sampler", "first", "then"):
        if hasattr(sampler, name):
            found |= _seeded_samplers(getattr(sampler, name))
    return found
