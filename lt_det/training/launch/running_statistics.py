"""Batch normalization in several processes: one set of running statistics for all."""

from __future__ import annotations

import torch
from detectron2.utils import comm
from torch import nn

_BUFFERS = ("running_mean", "running_var")


def share_running_statistics(model: nn.Module) -> None:
    """Give all processes the running statistics of the main process, which its checkpoints hold.

    Without SyncBN each process normalizes and averages its own images, and DistributedDataParallel, as Detectron2 sets
    it up, leaves the averages as they are. An evaluation in which each process has its own would differ from one of
    the checkpoint. All processes must call this; the training and the checkpoint of the main process do not change.
    """
    if comm.get_world_size() == 1:
        return
    for name, buffer in model.named_buffers():
        if name.rpartition(".")[2] in _BUFFERS:
            torch.distributed.broadcast(buffer, src=0)
