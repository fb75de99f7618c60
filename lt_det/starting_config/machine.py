"""What this machine has: a GPU and its memory, cores."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

_MOST_WORKERS = 4  # more rarely load faster than a GPU trains


@dataclass(frozen=True)
class Machine:
    """
    Attributes:
        gpu: name of the first GPU; empty if torch sees none.
        memory: of it, in GB.
        cores: that this process may use.
    """

    gpu: str
    memory: float
    cores: int

    @property
    def device(self) -> str:
        """MODEL.DEVICE."""
        return "cuda" if self.gpu else "cpu"

    @property
    def workers(self) -> int:
        """DATALOADER.NUM_WORKERS."""
        if self.gpu:
            return max(0, min(_MOST_WORKERS, self.cores - 1))
        return 1 if self.cores > 1 else 0


def this_machine() -> Machine:
    """The machine that the config is made on."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not torch.cuda.is_available():
        return Machine("", 0.0, cores)
    properties = torch.cuda.get_device_properties(0)
    return Machine(properties.name, properties.total_memory / 1e9, cores)
