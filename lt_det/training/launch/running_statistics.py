"""Batch normalization in several processes: one set of running statistics for all."""

from __future__ import annotations

import torch
from detectron2.utils import comm
from torch import Tensor, nn


def share_running_statistics(model: nn.Module) -> None:
    """Give all processes the running statistics of the main process, which its checkpoints hold.

    Without SyncBN each process normalizes and averages its own images, and DistributedDataParallel, as Detectron2 sets
    it up, leaves the averages as they are. An evaluation in which each process has its own would differ from one of
    the checkpoint. All processes must call this; the training and the checkpoint of the main process do not change.
    """
    if comm.get_world_size() == 1:
        return
    for buffer in running_statistics(model).values():
        torch.distributed.broadcast(buffer, src=0)


def running_statistics(model: nn.Module) -> dict[str, Tensor]:
    """The running means and variances of batch normalization that is not frozen, by name.

    Those of a module with two names are there under both.
    """
    found: dict[str, Tensor] = {}
    for prefix, module in model.named_modules(remove_duplicate=False):
        if getattr(module, "num_batches_tracked", None) is None:  # frozen normalization has no such buffer
            continue
        for name in ("running_mean", "running_var"):
            found[f"{prefix}.{name}" if prefix else name] = getattr(module, name)
    return found
