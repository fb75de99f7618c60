"""Time, memory and host synchronizations of one step on a device."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable

import torch

Step = Callable[[], object]


def synchronize(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def seconds(step: Step, device: str) -> float:
    """From an idle device until the device has finished the step."""
    synchronize(device)
    start = time.perf_counter()
    step()
    synchronize(device)
    return time.perf_counter() - start


def peak_bytes(step: Step, device: str) -> int | None:
    """Most memory allocated at once during the step, beyond what was allocated before it; None on the CPU."""
    if device != "cuda":
        return None
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def host_synchronizations(step: Step, device: str) -> int | None:
    """How often the step makes the host wait for the device; None on the CPU. Run the step once before."""
    if device != "cuda":
        return None
    torch.cuda.synchronize()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            step()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return sum("synchronizing CUDA operation" in str(warning.message) for warning in caught)


def ratio(value: float | None, reference: float | None) -> float | None:
    return None if value is None or not reference else value / reference
