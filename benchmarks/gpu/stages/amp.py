"""Mixed precision in a whole training step of configs/lvis_eql.yaml: finite losses, and a loss scale that settles."""

from __future__ import annotations

import itertools
import math
import tempfile
from pathlib import Path

import torch

from benchmarks.gpu.figures import require, write_figures
from benchmarks.gpu.machine import device, is_small
from benchmarks.gpu.measure import ratio
from benchmarks.gpu.synthetic_lvis import lvis_config, write_synthetic_lvis
from benchmarks.gpu.training import Iteration, Trainer, build, median_seconds, mini_lvis_config, train

# Convolutions in float16 take minutes on the CPU. Detectron2's own AMP step refuses to run without CUDA; the one that
# accumulates gradients does not.
SMALL = ("SOLVER.ACCUMULATE", 2, "SOLVER.IMS_PER_BATCH", 2, "INPUT.MIN_SIZE_TRAIN", (32,))
SETTLED = 5  # iterations at the end in which at least one step must be taken

CASES = {
    "float32": ("SOLVER.AMP.ENABLED", False),
    "float16": ("SOLVER.AMP.ENABLED", True, "SOLVER.AMP.PRECISION", "float16"),
    "bfloat16": ("SOLVER.AMP.ENABLED", True, "SOLVER.AMP.PRECISION", "bfloat16"),
}


def skipped_steps(iterations: list[Iteration]) -> int:
    """Steps whose gradients overflowed: the scaler halves its scale and leaves the weights as they are."""
    scales = [iteration.loss_scale for iteration in iterations]
    return sum(after < before for before, after in itertools.pairwise(scales))


def main() -> None:
    warm_up, steps = (1, 1) if is_small() else (5, 20)
    reference = None
    with tempfile.TemporaryDirectory() as temporary:
        data, out = Path(temporary, "data"), Path(temporary, "out")
        if not is_small():
            write_synthetic_lvis(data, 32)
        for case, overrides in CASES.items():
            if device() == "cuda":
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
            if is_small():
                cfg = mini_lvis_config(out, warm_up + steps, *SMALL, *overrides)
            else:
                cfg = lvis_config(data, out, "lvis_eql", warm_up + steps, *overrides)
            iterations = train(build(Trainer, cfg), save=False)
            seconds = median_seconds(iterations, warm_up)
            peak = torch.cuda.max_memory_allocated() if device() == "cuda" else None
            reference = reference or (seconds, peak)
            finite = all(math.isfinite(value) for iteration in iterations for value in iteration.losses.values())
            write_figures(
                "amp",
                case,
                milliseconds=1000 * seconds,
                time_ratio=seconds / reference[0],
                peak_megabytes=None if peak is None else peak / 1e6,
                memory_ratio=ratio(peak, reference[1]),
                first_total_loss=iterations[0].losses["total_loss"],
                last_total_loss=iterations[-1].losses["total_loss"],
                finite=finite,
                skipped_steps=skipped_steps(iterations),
                loss_scale=iterations[-1].loss_scale,
            )
            require(finite, f"{case}: a loss is not finite: {[iteration.losses for iteration in iterations]}")
            require(
                len(iterations) <= SETTLED or skipped_steps(iterations[-SETTLED - 1 :]) < SETTLED,
                f"{case}: every one of the last {SETTLED} steps was skipped; the loss scale does not settle",
            )


if __name__ == "__main__":
    main()
