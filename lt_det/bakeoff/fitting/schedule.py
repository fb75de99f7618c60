"""The budget of a candidate: three phases with descending learning rates, which a plateau ends early."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

PHASE_STARTS = (0.0, 0.7, 0.9)  # fractions of the budget

Phases = tuple[int, ...]  # steps in each phase

_PATIENCE = 5  # measures without a gain that make a plateau
_GAIN = 0.001  # of the held-out measure


class Schedule:
    """Where one classifier stands in its budget of steps.

    The learning rate is multiplied by `gamma` when the second phase begins, at 70 % of the budget, and again at 90 %. A
    phase ends early if the held-out measure has stopped rising, and the next phase begins as if it were reached.

    Args:
        steps: the budget.
        gamma: factor of the learning rate from phase to phase.
        warmup: steps of linear warm-up, from `warmup_factor` on.
        warmup_factor: factor of the learning rate at step 0.
        phases: steps in each phase, as another schedule of this budget used them; None for the whole budget.

    Attributes:
        earliest_end: only from this fraction of the budget on can there be a plateau. For a loss with phases of its own
            it is the beginning of the last one, so that none of them is skipped.
        done: whether the budget is used up, or ended by a plateau in the last phase.
        step: steps so far.
    """

    def __init__(
        self,
        steps: int,
        *,
        gamma: float = 0.1,
        warmup: int = 0,
        warmup_factor: float = 0.001,
        phases: Phases | None = None,
    ) -> None:
        self._starts = [round(start * steps) for start in PHASE_STARTS]
        self._lengths = phases or tuple(np.diff([*self._starts, steps]).tolist())
        self._steps, self._gamma = steps, gamma
        self._warmup, self._warmup_factor = warmup, warmup_factor
        self.earliest_end = 0.0
        self._used = [0]
        self._best, self._without_gain = -np.inf, 0
        self.step, self.done = 0, False
        self._skip_finished()

    @property
    def progress(self) -> float:
        """Completed fraction of the budget, for losses with phases; a phase that ended early counts as completed."""
        return min(self._starts[self._phase] + self._used[-1], self._steps) / self._steps

    @property
    def factor(self) -> float:
        """Factor of the learning rate at this step."""
        warmup = 1.0
        if self.step < self._warmup:
            warmup = self._warmup_factor + (1 - self._warmup_factor) * self.step / self._warmup
        return float(warmup * self._gamma**self._phase)

    @property
    def phases(self) -> Phases:
        """Steps so far in each phase."""
        return tuple(self._used + [0] * (len(PHASE_STARTS) - len(self._used)))

    def advance(self) -> None:
        """Count one step."""
        self.step += 1
        self._used[-1] += 1
        self._skip_finished()

    def report(self, measure: float) -> None:
        """Take a value of the held-out measure; where it has stopped rising, the phase ends."""
        if self.done or self.progress < self.earliest_end:
            return
        if measure > self._best + _GAIN:
            self._best, self._without_gain = measure, 0
            return
        self._without_gain += 1
        if self._without_gain >= _PATIENCE:
            self._next_phase()
            self._skip_finished()

    @property
    def _phase(self) -> int:
        return len(self._used) - 1

    def _skip_finished(self) -> None:
        while not self.done and self._used[-1] >= self._lengths[self._phase]:
            self._next_phase()

    def _next_phase(self) -> None:
        if len(self._used) == len(PHASE_STARTS):
            self.done = True
        else:
            self._used.append(0)
            self._without_gain = 0


def mean_phases(folds: Sequence[Phases]) -> Phases:
    """Steps in each phase for a training on all images: the mean over the folds, on which a plateau can be seen."""
    return tuple(round(float(np.mean(steps))) for steps in zip(*folds, strict=True))
