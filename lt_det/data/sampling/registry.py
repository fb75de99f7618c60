"""Training samplers by name, for DATALOADER.SAMPLER_TRAIN."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from torch.utils.data import Sampler

from lt_det.registry import Registry

SamplerBuilder = Callable[[Any, Sequence[Mapping[str, Any]], "int | None"], Sampler[int]]

SAMPLERS: Registry[SamplerBuilder] = Registry("A sampler")

_Builder = TypeVar("_Builder", bound=SamplerBuilder)


def register_sampler(name: str) -> Callable[[_Builder], _Builder]:
    """Decorator of a class or function: make a training sampler known as `name`, for ``DATALOADER.SAMPLER_TRAIN``.

    It is called with the config, the training images in Detectron2's form, and the config's seed (None: draw one that
    all processes share). It returns an endless sampler of image indices, which is the same stream for any number of
    processes, of which each takes its slice; `detectron2.data.samplers.TrainingSampler` is a base class that slices.
    A resumed training repeats the stream exactly if the sampler follows from its attribute ``_seed``.

    Raises:
        ValueError: the name is taken.
    """
    return SAMPLERS.register(name)
