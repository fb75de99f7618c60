"""Which weights of a checkpoint are used where it holds their moving average, too (SOLVER.EMA)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

STATE_KEYS = ("trainer", "hooks", "EMAHook", "weights")  # where Detectron2 keeps the state of hooks


def averages_of(checkpoint: Any) -> dict[str, Tensor]:
    """The moving average of trained weights, by name; empty if the checkpoint holds none.

    Args:
        checkpoint: content of the file.
    """
    for key in STATE_KEYS:
        checkpoint = checkpoint.get(key) if isinstance(checkpoint, dict) else None
    return dict(checkpoint) if isinstance(checkpoint, dict) else {}


def use_averages(checkpoint: dict[str, Any]) -> bool:
    """Put the moving average in the place of the weights ("model"); returns whether the checkpoint holds one."""
    averages = averages_of(checkpoint)
    checkpoint["model"].update(averages)
    return bool(averages)
