"""Random numbers that depend on where a training is, and not on what was drawn before."""

from __future__ import annotations

import random

import numpy as np
import torch
from detectron2.utils import comm


def shared_seed(seed: int) -> int:
    """The seed of a config; where that is negative (none), a random one that the processes share."""
    return seed if seed >= 0 else int(comm.shared_random_seed())


def seed_generators(*place: int) -> None:
    """Start the generators of Python, NumPy and torch (CPU, GPUs) anew.

    Args:
        place: non-negative numbers, such as seed, process and iteration.
    """
    # Mixed, because generators that start at neighbouring numbers begin alike; one each, because NumPy's and torch's
    # are the same Mersenne Twister.
    python, numpy, torchs = np.random.SeedSequence(place).generate_state(3).tolist()
    random.seed(python)
    np.random.seed(numpy)
    torch.default_generator.manual_seed(torchs)  # torch.manual_seed takes 80 times as long where no GPU is in use
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(torchs)
