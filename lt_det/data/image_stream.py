"""A resumed training goes on in its stream of images."""

from __future__ import annotations

import logging
from typing import Any

from detectron2.data.common import ToIterableDataset
from torch.utils.data import Sampler

from lt_det.data.samplers import DeferredSampler, SkippingSampler

logger = logging.getLogger(__name__)


class ImageStream:
    """The stream of images behind one of Detectron2's training loaders. A checkpoint keeps its seeds.

    The stream goes on exactly, but for aspect ratio grouping: its loader takes images ahead, until some have one shape.
    """

    def __init__(self, loader: Any) -> None:
        """
        Args:
            loader: not yet iterated.
        """
        self._holder = _holder_of_sampler(loader)
        self._samplers = {} if self._holder is None else _seeded_samplers(self._holder.sampler)

    def state_dict(self) -> dict[str, Any]:
        return {"seeds": {name: sampler._seed for name, sampler in self._samplers.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, seed in state["seeds"].items():
            if name in self._samplers:  # a training may be resumed with another sampler
                self._samplers[name]._seed = seed

    def skip(self, images: int) -> None:
        """Go on after `images` that each process has used before; without reading them."""
        if not images:
            return
        if self._holder is None:
            logger.warning("The images start anew: the training loader has no sampler of the kind Detectron2 makes.")
            return
        self._holder.sampler = SkippingSampler(self._holder.sampler, images)


def _holder_of_sampler(loader: Any) -> ToIterableDataset | None:
    """Detectron2 wraps data sets and loaders into each other; one of them holds the sampler."""
    node = loader
    while node is not None and not isinstance(node, ToIterableDataset):
        node = getattr(node, "dataset", getattr(node, "_dataset", None))
    return node


def _seeded_samplers(sampler: Sampler[int]) -> dict[str, Any]:
    parts = [sampler.first, sampler.then] if isinstance(sampler, DeferredSampler) else [sampler]
    return {type(part).__name__: part for part in parts if hasattr(part, "_seed")}
