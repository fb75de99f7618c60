"""Every loss, forward and backward: time and memory relative to F.cross_entropy in the same run."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.gpu import measure
from benchmarks.gpu.figures import require, write_figures
from benchmarks.gpu.machine import device, is_small
from lt_det import ClassStats
from lt_det.losses import LOSSES, build_loss

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
REFERENCE = "F.cross_entropy"
HYPERPARAMETERS: dict[str, dict[str, Any]] = {"ib": {"alpha": 1.0}}


class Case:
    """One loss on logits of one dtype. Half-precision logits come from a classifier under autocast."""

    def __init__(self, loss: Callable[[Tensor], Tensor], logits: Tensor) -> None:
        self.loss, self.logits = loss, logits
        self.value = torch.empty(())

    def step(self) -> None:
        self.logits.grad = None
        dtype = self.logits.dtype
        with torch.autocast(self.logits.device.type, dtype=dtype, enabled=dtype != torch.float32):
            self.value = self.loss(self.logits)
        self.value.backward()

    def forget(self) -> None:
        """Free what the last step left behind, which would hide as much of the next step's memory."""
        self.logits.grad = None
        self.value = torch.empty(())

    def is_finite(self) -> bool:
        assert self.logits.grad is not None
        return bool(self.value.isfinite()) and bool(self.logits.grad.isfinite().all())


def cases(rois: int, classes: int, dtype: torch.dtype) -> dict[str, Case]:
    """The reference first. A quarter of the RoIs are foreground."""
    torch.manual_seed(0)
    counts = np.geomspace(1, 50_000, classes).astype(np.int64)
    stats = ClassStats(tuple(map(str, range(classes))), counts, counts, 100_000, "benchmark")
    labels = torch.randint(0, classes, (rois,), device=device())
    labels[torch.rand(rois, device=device()) < 0.75] = classes
    features = torch.rand(rois, 1024, device=device())

    def random_logits(columns: int, cosines: bool = False) -> Tensor:
        z = torch.randn(rois, columns, device=device())
        return (z.clamp(-1, 1) if cosines else z).to(dtype).requires_grad_()

    made = {REFERENCE: Case(lambda z: F.cross_entropy(z, labels), random_logits(classes + 1))}
    for name in LOSSES:
        loss = build_loss(name, stats, **HYPERPARAMETERS.get(name, {})).to(device())
        loss.progress = 1.0  # the last phase, for a loss that has several
        logits = random_logits(loss.num_logits, cosines=loss.scales_cosines)
        made[name] = Case(lambda z, loss=loss: loss(z, labels, features), logits)
    return made


def main() -> None:
    rois, classes, rounds = (64, 40, 2) if is_small() else (4096, 1203, 31)
    failed = []
    for dtype_name, dtype in DTYPES.items():
        made = cases(rois, classes, dtype)
        times: dict[str, list[float]] = {name: [] for name in made}
        for case in made.values():
            case.step()  # warm up
        for _ in range(rounds):  # in turns, so that a disturbance of the machine affects all
            for name, case in made.items():
                times[name].append(measure.seconds(case.step, device()))
        reference = statistics.median(times[REFERENCE])
        reference_peak = None
        for name, case in made.items():
            median = statistics.median(times[name])
            finite = case.is_finite()
            case.forget()
            peak = measure.peak_bytes(case.step, device())
            reference_peak = reference_peak or peak  # the reference comes first
            write_figures(
                "losses",
                f"{name}, {dtype_name}",
                milliseconds=1000 * median,
                time_ratio=median / reference,
                peak_megabytes=None if peak is None else peak / 1e6,
                memory_ratio=measure.ratio(peak, reference_peak),
                host_synchronizations=measure.host_synchronizations(case.step, device()),
                finite=finite,
            )
            if not finite:
                failed.append(f"{name} on {dtype_name} logits")
    require(not failed, f"loss or gradient is not finite: {', '.join(failed)}")


if __name__ == "__main__":
    main()
