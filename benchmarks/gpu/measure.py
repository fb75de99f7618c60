"""Time, memory and host synchronizations of one step on a device."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from benchmarks.gpu.host_synchronizations import HostSynchronizations

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


def host_synchronizations(step: Step, device: str) -> int:
    """How often the step makes the host wait for the device, see `HostSynchronizations`. Run the step once before."""
    with HostSynchronizations(device) as found:
        step()
    return found.count


def ratio(value: float | None, reference: float | None) -> float | None:
    return None if value is None or not reference else value / reference
