"""Sums over processes, for losses that keep state."""

from __future__ import annotations

import torch
from torch import Tensor


def sum_over_processes(tensor: Tensor) -> Tensor:
    """Replace `tensor` by its sum over all processes, and return it. With one process it does nothing.

    Detectron2 does not broadcast buffers, and saves those of the first process only. Without the sum, the state of a
    loss would silently differ between processes.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(tensor)
    return tensor
