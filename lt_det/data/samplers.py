"""Training samplers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from torch.utils.data import Sampler


class DeferredSampler(Sampler[int]):
    """Indices from one endless sampler, and from some point of the training on from another: deferred re-sampling.

    Cao et al. 2019, section 3.3, https://arxiv.org/abs/1906.07413: features are learned on the data as they are, the
    classifier is balanced after.

    Attributes:
        position: indices that this process used before, where a training is resumed.
    """

    def __init__(self, first: Sampler[int], then: Sampler[int], switch_after: int) -> None:
        """
        Args:
            first, then: endless samplers.
            switch_after: indices that each process takes from `first`.
        """
        self.first, self.then, self.switch_after = first, then, switch_after
        self.position = 0

    def __iter__(self) -> Iterator[int]:
        yield from itertools.islice(self.first, max(self.switch_after - self.position, 0))
        yield from self.then


def resume_deferred_sampler(loader: Any, position: int) -> None:
    """Tell the deferred sampler inside a Detectron2 training loader, if there is one, how far the training is.

    Args:
        loader: not yet iterated.
        position: images that each process used before.
    """
    node = loader
    while node is not None:  # the loader wraps data sets into each other; one of them holds the sampler
        sampler = getattr(node, "sampler", None)
        if isinstance(sampler, DeferredSampler):
            sampler.position = position
        node = getattr(node, "dataset", None)
