"""Sums over processes, for losses that keep state."""

from __future__ import annotations

import torch
from torch import Tensor


def sum_over_processes(tensor: Tensor) -> Tensor:
    """The sum of `tensor` over all processes, in place, where there is more than one.

    Detectron2 neither broadcasts buffers nor saves any but the first process's, so state that is not summed drifts
    apart unseen.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(tensor)
    return tensor
