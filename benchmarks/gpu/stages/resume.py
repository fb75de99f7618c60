"""Save and resume on mini_lvis: the losses after resuming against those of the training that was not interrupted.

On the CPU they are equal to the last bit. On a GPU some backward kernels add in any order, so that two trainings drift
apart; the first loss after resuming depends on the checkpoint, the images and the random numbers alone.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.gpu.figures import require, write_figures
from benchmarks.gpu.machine import device, is_small
from benchmarks.gpu.training import Iteration, Trainer, build, mini_lvis_config, train


def tolerance() -> float:
    """Relative difference of a loss that is computed twice from the same weights, images and random numbers."""
    return 1e-4 if device() == "cuda" else 0.0


def compare(found: Sequence[Iteration], expected: Sequence[Iteration]) -> tuple[float, float]:
    """Relative difference of the total loss in the first of the iterations, and the largest over all of them."""
    pairs = [(one.losses["total_loss"], other.losses["total_loss"]) for one, other in zip(found, expected, strict=True)]
    differences = [abs(one - other) / abs(other) for one, other in pairs]
    return differences[0], max(differences)


def main() -> None:
    half = 3 if is_small() else 25
    with tempfile.TemporaryDirectory() as temporary:
        whole, resumed = Path(temporary, "whole"), Path(temporary, "resumed")
        keys = ("SOLVER.CHECKPOINT_PERIOD", half)
        undisturbed = train(build(Trainer, mini_lvis_config(whole, 2 * half, *keys)))
        cfg = mini_lvis_config(resumed, 2 * half, *keys)
        checkpoint = f"model_{half - 1:07d}.pth"
        shutil.copy(whole / checkpoint, resumed)
        (resumed / "last_checkpoint").write_text(checkpoint)
        again = train(build(Trainer, cfg), resume=True)
        numbers = [iteration.number for iteration in again]
        first, largest = compare(again, undisturbed[half:])
        write_figures(
            "resume",
            f"after {half} of {2 * half} iterations",
            checkpoint_megabytes=(whole / checkpoint).stat().st_size / 1e6,
            first_iteration=numbers[0],
            first_difference=first,
            largest_difference=largest,
        )
        require(numbers == list(range(half, 2 * half)), f"the resumed training has the iterations {numbers}")
        require(first <= tolerance(), f"the first loss after resuming differs by {first:.2g}")
        if device() == "cpu":
            require(largest == 0, f"the resumed training differs by {largest:.2g} on the CPU")


if __name__ == "__main__":
    main()
