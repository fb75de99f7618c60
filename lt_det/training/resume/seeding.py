"""Random numbers that depend on the point in the training, and not on earlier draws."""

from __future__ import annotations

import random

import numpy as np
import torch
from detectron2.utils import comm


def shared_seed(seed: int) -> int:
    """The seed of a config; if it is negative, a random one that the processes share."""
    return seed if seed >= 0 else int(comm.shared_random_seed())


def seed_generators(*place: int) -> None:
    """Seed the generators of Python, NumPy and torch (CPU and GPUs).

    Args:
        place: non-negative numbers, such as seed, process and iteration.
    """
    # Hashed, because generators with neighboring seeds begin alike. Three seeds, because NumPy and torch have the same
    # generator, a Mersenne Twister.
    python, numpy, torchs = np.random.SeedSequence(place).generate_state(3).tolist()
    random.seed(python)
    np.random.seed(numpy)
    torch.default_generator.manual_seed(torchs)  # 80 times faster than torch.manual_seed without a GPU
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(torchs)
