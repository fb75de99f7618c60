"""A resumed training continues its stream of images."""

from __future__ import annotations

import logging
from typing import Any

from detectron2.utils import comm
from torch.utils.data import DataLoader, Dataset, Sampler

from lt_det.compat.detectron2 import image_source, loader_layers
from lt_det.data.sampling.samplers import NumberedSampler
from lt_det.data.worker_signals import end_only_with_parent
from lt_det.training.resume.loaded_state import check_seed
from lt_det.training.resume.seeding import seed_generators, shared_seed

logger = logging.getLogger(__name__)


class ImageStream:
    """The stream of images behind one of Detectron2's training loaders. Checkpoints store its seeds.

    Random augmentations of an image (flip, size) depend only on its position in the stream, with any number of workers.
    The stream is continued exactly, except with Detectron2's own aspect ratio grouping, which loads images ahead, and
    with a mapper that returns None.
    """

    def __init__(self, loader: Any, seed: int = -1) -> None:
        """
        Args:
            loader: training loader, not yet iterated.
            seed: SEED of the config; negative: a random one that the processes share.
        """
        for layer in loader_layers(loader):
            if isinstance(layer, DataLoader):
                end_only_with_parent(layer)
        self._numbered, self._seeded = None, {}
        source = image_source(loader)
        if source is not None:
            images = _SeededImages(source.dataset, shared_seed(seed))
            self._seeded = {"images": images, **_seeded_samplers(source.sampler)}
            self._numbered = NumberedSampler(source.sampler)
            source.dataset, source.sampler = images, self._numbered

    def state_dict(self) -> dict[str, Any]:
        return {"seeds": {name: seeded._seed for name, seeded in self._seeded.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, seed in state["seeds"].items():
            if name in self._seeded:  # a training may be resumed with another sampler
                self._seeded[name]._seed = check_seed(seed, "the images")

    def skip(self, images: int) -> None:
        """Skip the images that each process used before, without reading them."""
        if self._numbered is not None:
            self._numbered.skipped = images
        elif images:
            logger.warning(
                "The stream of images starts from the beginning, because the training loader has no sampler that could "
                "be continued; build it with Detectron2's build_detection_train_loader."
            )


class _SeededImages(Dataset[Any]):
    """A dataset indexed by position in the stream of this process and image index."""

    def __init__(self, dataset: Dataset[Any], seed: int) -> None:
        self.dataset, self._seed = dataset, seed
        self._rank, self._processes = comm.get_rank(), comm.get_world_size()

    def __getitem__(self, numbered: tuple[int, int]) -> Any:
        position, index = numbered
        seed_generators(self._seed, position * self._processes + self._rank)  # position in the stream of all processes
        return self.dataset[index]


def _seeded_samplers(sampler: Sampler[int]) -> dict[str, Any]:
    """The samplers that have a seed, including those inside others."""
    found = {type(sampler).__name__: sampler} if hasattr(sampler, "_seed") else {}
    for name in ("sampler", "first", "then"):
        if hasattr(sampler, name):
            found |= _seeded_samplers(getattr(sampler, name))
    return found
