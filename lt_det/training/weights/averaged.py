"""Which weights of a checkpoint are used where it holds their moving average, too (SOLVER.EMA)."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def averages_of(checkpoint: Any) -> dict[str, Tensor]:
    """The moving average of trained weights, by name; empty if the checkpoint holds none.

    Detectron2 keeps the state of a hook under the name of its class. A subclass of EMAHook has a name of its own: its
    state is recognized by what it holds, averages of weights of the model and the number of steps.

    Args:
        checkpoint: content of the file.
    """
    hooks: Any = checkpoint
    for key in ("trainer", "hooks"):
        hooks = hooks.get(key) if isinstance(hooks, dict) else None
    if not isinstance(hooks, dict):
        return {}
    states = [hooks.get("EMAHook"), *(state for state in hooks.values() if _is_of_subclass(state, checkpoint))]
    averages = (state.get("weights") for state in states if isinstance(state, dict))
    return next((dict(weights) for weights in averages if isinstance(weights, dict)), {})


def use_averages(checkpoint: dict[str, Any]) -> bool:
    """Put the moving average in the place of the weights ("model"); returns whether the checkpoint holds one."""
    averages = averages_of(checkpoint)
    checkpoint["model"].update(averages)
    return bool(averages)


def _is_of_subclass(state: Any, checkpoint: dict[str, Any]) -> bool:
    model, averages = checkpoint.get("model"), state.get("weights") if isinstance(state, dict) else None
    if not (isinstance(model, dict) and isinstance(averages, dict) and isinstance(state.get("steps"), int)):
        return False
    if not averages:  # all() below would take it for an average, which would hide another hook's
        return False
    return all(
        _shape(average) is not None and _shape(average) == _shape(model.get(name)) for name, average in averages.items()
    )


def _shape(value: Any) -> tuple[int, ...] | None:
    return tuple(value.shape) if isinstance(value, Tensor) else None
