"""torch, seen in 2.1 to 2.14: private or patched pieces, and names that changed between versions."""

from __future__ import annotations

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
