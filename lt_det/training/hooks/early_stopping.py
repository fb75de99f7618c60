"""End a training whose evaluations no longer improve (SOLVER.EARLY_STOPPING)."""

from __future__ import annotations

import contextlib
import json
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from detectron2.engine import HookBase
from detectron2.utils import comm
from fvcore.common.checkpoint import Checkpointer

from lt_det.errors import LtDetError
from lt_det.terminal import count_of
from lt_det.trainer_keys import EARLY_STOPPING
from lt_det.training.hooks.metric import Metric, at_last_step, is_evaluated, mark_hook

logger = logging.getLogger(__name__)


class _TrainingEnded(BaseException):
    """Ends Detectron2's loop over the iterations; a BaseException, because the loop logs a traceback of others."""


@contextlib.contextmanager
def ends_early() -> Iterator[None]:
    """Context around ``trainer.train()`` in which `EarlyStopping` can end the training; the script then goes on."""
    with contextlib.suppress(_TrainingEnded):
        yield


class EarlyStopping(HookBase):
    """End the training after so many evaluations in a row without a better value of a metric.

    It then ends like one that has reached its last iteration: with ``model_final.pth``, the final evaluation and what
    other hooks do at the end. In lt_det's trainers the evaluation that has ended it is the final one; Detectron2's own
    EvalHook repeats it. Checkpoints hold the values so far, so that a resumed training continues the count. A value
    that is nan or infinite does not count.

    Register it in every process, behind the evaluation, and train within `ends_early`::

        trainer.register_hooks([EarlyStopping(cfg.TEST.EVAL_PERIOD, trainer.checkpointer, "bbox/APr", patience=5)])
        with ends_early():
            trainer.train()
    """

    def __init__(
        self, period: int, checkpointer: Checkpointer, metric: Metric | str, patience: int, min_delta: float = 0.0
    ) -> None:
        """
        Args:
            period: TEST.EVAL_PERIOD, iterations between evaluations.
            checkpointer: saves ``model_final``; metrics.json is in its folder.
            metric: what to compare; a name alone is a `Metric` in mode "auto".
            patience: number of evaluations.
            min_delta: a value counts as better if it is by more than this.

        Raises:
            LtDetError: a patience below 1.
        """
        self._period, self._checkpointer = period, checkpointer
        self._metric = Metric(metric) if isinstance(metric, str) else metric
        if patience < 1:
            raise LtDetError(f"EarlyStopping was given patience {patience}; give a number of evaluations.")
        self._patience, self._min_delta = patience, min_delta
        self._values: dict[int, float] = {}  # by iteration

    def state_dict(self) -> dict[str, Any]:
        return {"metric": self._metric.name, "values": dict(self._values)} if self._values else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state["metric"] == self._metric.name:
            self._values = {int(iteration): float(value) for iteration, value in state["values"].items()}
        else:
            logger.warning("Early stopping compares %s from now on, not %s.", self._metric.name, state["metric"])

    def before_train(self) -> None:
        mark_hook(self.trainer, EARLY_STOPPING)
        if self.trainer.start_iter == 0:
            self._values = {}
            return
        last = self.trainer.start_iter - 1
        if comm.is_main_process() and last not in self._values:  # a checkpoint is saved before the evaluation
            value = self._logged(last)
            if value is not None and math.isfinite(value):
                self._values[last] = value
        self._values = comm.all_gather(self._values)[0]

    def before_step(self) -> None:
        if self._waited() < self._patience:
            return
        resumed_at_end = self.trainer.iter == self.trainer.start_iter
        if resumed_at_end:
            logger.warning(
                f"Nothing is trained: the training in {self._checkpointer.save_dir} ended early, after iteration "
                f"{self.trainer.iter - 1}. To train longer, raise SOLVER.EARLY_STOPPING.PATIENCE (LazyConfig: "
                "train.early_stopping.patience), or set it to 0."
            )
        saved = resumed_at_end and self._checkpointer.get_checkpoint_file().endswith("model_final.pth")
        if comm.is_main_process() and not saved:
            with at_last_step(self.trainer):
                self._checkpointer.save("model_final", iteration=self.trainer.iter)
        self.trainer.max_iter = self.trainer.iter
        raise _TrainingEnded("The training has ended early; call trainer.train() within lt_det.training.ends_early().")

    def after_step(self) -> None:
        if not is_evaluated(self.trainer, self._period):
            return
        value = self._metric.after_evaluation(self.trainer) if comm.is_main_process() else None
        value = comm.all_gather(value)[0]
        if value is None:
            return
        if not math.isfinite(value):
            logger.warning("%s is %s: early stopping does not count this evaluation.", self._metric.name, value)
            return
        self._values[self.trainer.iter] = value
        if self._waited() >= self._patience:
            self._end()

    def _end(self) -> None:
        """Make this the last iteration for all hooks. The loop ends before the next one."""
        iteration = self.trainer.iter
        self.trainer.max_iter = iteration + 1
        best = self._best_iteration()
        logger.info(
            f"The training ends early, after iteration {iteration}: {self._metric.name} was best after iteration "
            f"{best} ({self._values[best]:.5g}), and did not improve by more than {self._min_delta:g} in "
            f"{count_of(self._patience, 'evaluation')} since (SOLVER.EARLY_STOPPING.PATIENCE)."
        )

    def _best_iteration(self) -> int:
        best = min(self._values)
        for iteration in sorted(self._values):
            if self._metric.is_better(self._values[iteration], self._values[best], self._min_delta):
                best = iteration
        return best

    def _waited(self) -> int:
        """The number of evaluations since the best."""
        return sum(iteration > self._best_iteration() for iteration in self._values)

    def _logged(self, iteration: int) -> float | None:
        """The metric in metrics.json; None if the file or the value is missing."""
        file = Path(self._checkpointer.save_dir) / "metrics.json"
        found: dict[str, float] = {}
        with contextlib.suppress(OSError, ValueError):
            for line in file.read_text().splitlines():
                values = json.loads(line)
                if values.get("iteration") == iteration:
                    found |= values
        return self._metric.value_in(found)
