"""torch, seen in 2.1 to 2.14: private or patched pieces, and names that changed between versions."""

from __future__ import annotations

import os
import pickle
import traceback
from typing import Any

import torch
from torch import nn


def grad_scaler(device: str, enabled: bool) -> Any:
    """The scaler of mixed-precision training; torch before 2.3 has one for GPUs only."""
    if hasattr(torch.amp, "GradScaler"):
        return torch.amp.GradScaler(device, enabled=enabled)
    return torch.cuda.amp.GradScaler(enabled=enabled)


def autocast_dtypes() -> set[torch.dtype]:
    """The precisions in which autocast computes at this moment, on GPUs or on the CPU; empty where it is off."""
    if hasattr(torch, "get_autocast_dtype"):
        return {torch.get_autocast_dtype(kind) for kind in ("cuda", "cpu") if torch.is_autocast_enabled(kind)}
    dtypes = set()  # torch before 2.4 has one function for each kind of device
    if torch.is_autocast_enabled():
        dtypes.add(torch.get_autocast_gpu_dtype())
    if torch.is_autocast_cpu_enabled():
        dtypes.add(torch.get_autocast_cpu_dtype())
    return dtypes


def keep_in_evaluation_mode(layer: nn.Module) -> None:
    """Put a layer into evaluation mode for good.

    Patched, because Detectron2 calls ``model.train()`` again after each evaluation.
    """
    layer.eval()
    layer.train = lambda mode=True: layer  # type: ignore[method-assign]


def is_dead_worker(error: BaseException | None) -> bool:
    """Whether an exception of a data loader means that a worker has died.

    Mostly torch says so itself. But while the kernel clears a killed worker away, its sockets are closed and its
    process is not yet gone: then the exception is that of fetching its tensors, such as ConnectionResetError.
    """
    if isinstance(error, RuntimeError) and str(error).startswith(DEAD_WORKER):
        return True
    if not isinstance(error, OSError | EOFError | RuntimeError | pickle.UnpicklingError):
        return False
    if str(error).startswith("Caught ") and "in pin memory thread" in str(error):
        return isinstance(error, OSError | EOFError)
    frames = traceback.extract_tb(error.__traceback__)
    of_loader = [os.path.join("torch", "utils", "data", "dataloader.py") in frame.filename for frame in frames]
    fetches = any(inside and frame.name == "_try_get_data" for inside, frame in zip(of_loader, frames, strict=True))
    return fetches and not of_loader[-1]  # what the loader raises itself has another cause


DEAD_WORKER = "DataLoader worker (pid"  # the beginning of torch's message about a data loader worker that died
