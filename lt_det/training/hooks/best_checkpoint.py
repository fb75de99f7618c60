"""Keep the checkpoint of the best evaluation (SOLVER.BEST_CHECKPOINT)."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from detectron2.engine import HookBase
from detectron2.utils import comm
from fvcore.common.checkpoint import Checkpointer

from lt_det.errors import LtDetError
from lt_det.trainer_keys import BEST_CHECKPOINT
from lt_det.training.hooks.metric import Metric, at_last_step, is_evaluated, mark_hook
from lt_det.training.weights.reading import open_checkpoint

RECORD_KEY = "best"  # in the checkpoint: metric, value and iteration

logger = logging.getLogger(__name__)


class BestCheckpoint(HookBase):
    """After each evaluation, save ``model_best.pth`` if the metric is better than in all evaluations before.

    It is a checkpoint like the others, and also holds ``best``: metric, value and iteration. ``last_checkpoint`` does
    not name it, and SOLVER.MAX_TO_KEEP does not count it. A resumed training replaces it only by a better one. A value
    that is nan or infinite is never the best.

    Register it in every process, behind the evaluation.
    """

    def __init__(self, period: int, checkpointer: Checkpointer, metric: Metric | str, name: str = "model_best") -> None:
        """
        Args:
            period: TEST.EVAL_PERIOD, iterations between evaluations.
            checkpointer: saves it.
            metric: what to compare; a name alone is a `Metric` in mode "auto".
            name: of the file, without suffix.
        """
        self._period, self._checkpointer, self._name = period, checkpointer, name
        self._metric = Metric(metric) if isinstance(metric, str) else metric
        self._best: dict[str, Any] = {}

    def state_dict(self) -> dict[str, Any]:
        return self._best

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._best = state

    def before_train(self) -> None:
        mark_hook(self.trainer, BEST_CHECKPOINT)
        if self.trainer.start_iter == 0:  # another training's are replaced, as its other checkpoints are
            self._best = {}
        elif comm.is_main_process():
            self._best = self._kept()

    def after_step(self) -> None:
        if comm.is_main_process() and is_evaluated(self.trainer, self._period):
            self._save_if_best(self.trainer.iter)

    def after_train(self) -> None:
        if not comm.is_main_process() or self.trainer.iter < self.trainer.max_iter:  # failed or stopped
            return
        with at_last_step(self.trainer):
            self._save_if_best(self.trainer.iter)
        if self._best:
            logger.info("The best checkpoint is %s.pth: %s", self._name, self._describe(self._best))

    def _save_if_best(self, iteration: int) -> None:
        value = self._metric.after_evaluation(self.trainer)
        if value is None or not self._metric.is_better(value, self._best.get("value")):
            return
        self._best = {"metric": self._metric.name, "value": float(value), "iteration": iteration}
        logger.info("Saving %s.pth: %s", self._name, self._describe(self._best))
        _save_beside(self._checkpointer, self._name, iteration=iteration, **{RECORD_KEY: self._best})

    def _kept(self) -> dict[str, Any]:
        """What a resumed training has to beat. The file itself says it, because it may be later than the checkpoint."""
        path = Path(self._checkpointer.save_dir) / f"{self._name}.pth"
        best = self._best
        if "://" not in self._checkpointer.save_dir:
            best = _record_of(path)
        if best.get("metric", self._metric.name) != self._metric.name:
            logger.warning(
                "%s is the best by %s so far, and will be replaced by the best by %s, which this training compares.",
                path,
                best["metric"],
                self._metric.name,
            )
            return {}
        return best

    @staticmethod
    def _describe(best: dict[str, Any]) -> str:
        return f"{best['metric']} is {best['value']:.5g} after iteration {best['iteration']}."


def _record_of(path: Path) -> dict[str, Any]:
    """The record in a best checkpoint; empty if there is no such file, or if it is corrupt."""
    if not path.is_file():
        return {}
    try:
        record: Any = open_checkpoint(path, mmap=True).get(RECORD_KEY)
    except LtDetError as error:
        logger.warning("%s It will be replaced after the next evaluation.", error)
        return {}
    known = isinstance(record, dict) and {"metric", "iteration"} <= record.keys()
    return record if known and isinstance(record.get("value"), float) else {}


def _save_beside(checkpointer: Any, name: str, **extra: Any) -> None:
    """Save a checkpoint that ``last_checkpoint`` does not name."""
    if hasattr(checkpointer, "save_beside"):
        checkpointer.save_beside(name, **extra)
        return
    last = checkpointer.get_checkpoint_file()
    checkpointer.save(name, **extra)
    if last:
        checkpointer.tag_last_checkpoint(os.path.basename(last))
