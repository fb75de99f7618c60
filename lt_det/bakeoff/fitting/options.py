"""How a candidate is trained, whatever it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lt_det.bakeoff.fitting.schedule import Phases

BATCH_SIZE = 512


@dataclass(frozen=True, eq=False, kw_only=True)
class FitOptions:
    """
    Attributes:
        seed: of the weights and the batches.
        steps: the budget.
        phases: steps in each phase, from fits of folds (`mean_phases`); None for the whole budget.
        batch_size: RoIs in a batch.
        device: where to train.
        held_out: indices of images to measure on.
        track: called with the completed fraction of the budget.
    """

    seed: int
    steps: int
    phases: Phases | None = None
    batch_size: int = BATCH_SIZE
    device: torch.device | str = "cpu"
    held_out: NDArray[np.int64] | None = None
    track: Callable[[float], None] | None = None
