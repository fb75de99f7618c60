"""The schedule in epochs, and in iterations as Detectron2 counts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

# Up to so many training images, so many epochs. Detectron2's schedules for COCO (118,000 images) and LVIS (100,000)
# have 12 to 37 epochs; small sets need more to make enough steps, large ones need fewer. Of 31 epochs on 1020
# photographs (docs/evidence.md), the last 12 gained nothing that the validation images could show.
EPOCHS = ((500, 100), (1_000, 50), (10_000, 36), (50_000, 24), (math.inf, 12))
_LEAST_ITERATIONS = 1000
_EVALUATIONS = 10
_EPOCHS_BETWEEN = 5  # evaluations at most
_WARM_UP = 0.1  # of the training, at most


@dataclass(frozen=True)
class Schedule:
    """
    Attributes:
        epochs: passes over the training images; MAX_ITER is a rounded number of them.
        iterations: SOLVER.MAX_ITER.
        steps: SOLVER.STEPS.
        warm_up: SOLVER.WARMUP_ITERS.
        period: TEST.EVAL_PERIOD, also of checkpoints.
    """

    epochs: float
    iterations: int
    steps: list[int]
    warm_up: int
    period: int

    @property
    def evaluations(self) -> int:
        """Number of evaluations."""
        return self.iterations // self.period


def choose_schedule(images: int, batch: int, drops: Sequence[float], warm_up: int, finetunes: bool) -> Schedule:
    """Epochs by the number of images, and about ten evaluations, or more so that none is many epochs after another.

    Args:
        images: training images with objects.
        batch: images per iteration.
        drops: fractions of the training after which the learning rate drops.
        warm_up: iterations of a long training.
        finetunes: whether a whole trained detector is the start, which halves the epochs.
    """
    epochs = next(epochs for most, epochs in EPOCHS if images <= most) / (2 if finetunes else 1)
    iterations = max(_LEAST_ITERATIONS, epochs * images / batch)
    evaluations = max(_EVALUATIONS, math.ceil(min(epochs, iterations * batch / images) / _EPOCHS_BETWEEN))
    period = _rounded(iterations / evaluations)
    iterations = period * evaluations
    return Schedule(
        epochs=iterations * batch / images,
        iterations=iterations,
        steps=[round(iterations * drop) for drop in drops],
        warm_up=min(warm_up, round(iterations * _WARM_UP)),
        period=period,
    )


def _rounded(iterations: float) -> int:
    """To two digits, upwards."""
    unit = 10 ** max(0, math.floor(math.log10(iterations)) - 1)
    return math.ceil(iterations / unit) * unit
