"""Save and stop on Ctrl-C, SIGTERM (SLURM pre-emption, torchrun) and SIGUSR1 (before SLURM's time limit)."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

import torch
from detectron2.engine import HookBase
from detectron2.engine.hooks import EvalHook
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

from lt_det.training.box_evaluator import box_evaluator

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class Stopped(KeyboardInterrupt):
    """Training stopped because of a signal, after saving a checkpoint.

    Args:
        message: printed by the main process.
        signum: sets the exit code.
    """

    def __init__(self, message: str, signum: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signum  # as shells report a command that was killed by the signal


class _EvaluationInterrupted(Exception):
    """Raised in all processes at once, to end an evaluation."""


class StopOnInterrupt(HookBase):
    """On Ctrl-C, SIGTERM or SIGUSR1, finish the iteration, save a checkpoint, and stop; a second Ctrl-C stops at once.

    A signal to one process stops all of them, after the same iteration. Saving in the middle of an iteration could save
    weights that are only partly updated. An evaluation by a `StoppableEvaluator` ends after its current image, because
    SLURM may not wait for the whole evaluation.

    Args:
        checkpointer: saves ``model_<iteration>``.
    """

    def __init__(self, checkpointer: Any) -> None:
        self._checkpointer = checkpointer
        self._received = self._interrupted_by = 0  # signal numbers: of this process; that ended an evaluation
        self._previous: dict[signal.Signals, Any] = {}

    def before_train(self) -> None:
        self._device = (
            "cuda" if torch.distributed.is_initialized() and torch.distributed.get_backend() == "nccl" else "cpu"
        )
        self._previous = {signum: signal.signal(signum, self._handle) for signum in STOP_SIGNALS}

    def after_step(self) -> None:
        signum = self._received_by_any()
        if not signum:
            return
        iteration = self.trainer.iter
        if comm.is_main_process():
            self._checkpointer.save(f"model_{iteration:07d}", iteration=iteration)
        comm.synchronize()  # the first process to exit ends the others: save before
        raise Stopped(f"Interrupted after iteration {iteration}; checkpoint saved, continue with --resume.", signum)

    def after_train(self) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)
        if self._interrupted_by and self.trainer.iter >= self.trainer.max_iter:
            message = "Interrupted during the evaluation after training; evaluate with --resume."
            raise Stopped(message, self._interrupted_by)

    def interrupt_evaluation(self, finished: bool) -> None:
        """Raise in all processes if any of them received a signal.

        Processes evaluate different numbers of images, so that each calls the collective operation once: when it has
        received a signal, or when it has `finished` its images.
        """
        if not (finished or self._received):
            return
        self._interrupted_by = self._received_by_any()
        if self._interrupted_by:
            raise _EvaluationInterrupted

    def _received_by_any(self) -> int:
        """Signal number of any process, else 0. If one stopped alone, the others would wait for its gradients."""
        if comm.get_world_size() == 1:
            return self._received
        received = torch.tensor(self._received, device=self._device)
        torch.distributed.all_reduce(received, torch.distributed.ReduceOp.MAX)
        return int(received.item())

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self._received == signum == signal.SIGINT:
            raise KeyboardInterrupt("Interrupted twice; continue from the last saved checkpoint with --resume.")
        first = not self._received
        self._received = signum  # before any call: another signal may interrupt this handler
        if first and comm.is_main_process():
            again = b"; Ctrl-C again stops at once" if signum == signal.SIGINT else b""
            os.write(2, b"\nStopping after this iteration and saving" + again + b".\n")  # print is unsafe in a handler


def evaluation_was_interrupted(trainer: Any) -> bool:
    """Whether a signal has ended an evaluation in this training, so that there are no metrics of it."""
    return any(isinstance(hook, StopOnInterrupt) and hook._interrupted_by for hook in trainer._hooks)


class StoppableEvaluator(DatasetEvaluator):
    """Wraps an evaluator so that `StopOnInterrupt` can end its evaluation within `EvalUnlessStopped`.

    Args:
        evaluator: does the work.
    """

    # Set while an evaluation may be interrupted. All evaluators share it, because a signal goes to the whole process.
    stop: StopOnInterrupt | None = None
    in_training = False  # whether the training goes on after the evaluation
    lost_files = False  # whether the evaluation could not write its files

    def __init__(self, evaluator: DatasetEvaluator) -> None:
        self._evaluator = evaluator

    def reset(self) -> None:
        boxes = box_evaluator(self._evaluator)
        if boxes is not None:  # a full disk must not cost the training
            boxes.needs_files = not StoppableEvaluator.in_training
        self._evaluator.reset()

    def process(self, inputs: Any, outputs: Any) -> None:
        self._check(finished=False)
        self._evaluator.process(inputs, outputs)

    def evaluate(self) -> Any:
        self._check(finished=True)
        results = self._evaluator.evaluate()
        boxes = box_evaluator(self._evaluator)
        StoppableEvaluator.lost_files |= boxes is not None and boxes.lost_files
        return results

    def _check(self, finished: bool) -> None:
        if StoppableEvaluator.stop is None:
            return
        try:
            StoppableEvaluator.stop.interrupt_evaluation(finished)
        except _EvaluationInterrupted:
            self._evaluator.reset()  # removes what it has written so far
            raise


class EvalUnlessStopped(EvalHook):
    """Detectron2's EvalHook, except that `StopOnInterrupt` can end the evaluation, and then stops training.

    Nor does it evaluate after a failure or a stop in the last iteration, as Detectron2's does: it would wait there for
    processes that wait for this one. If an evaluation has ended the training (`EarlyStopping`), its results are logged
    as those of the end, too: the weights are the same. They are evaluated again only if a full disk has cost the files.
    """

    def __init__(self, eval_period: int, evaluate: Callable[[], Any]) -> None:
        """
        Args:
            eval_period: iterations between evaluations; 0: only at the end.
            evaluate: returns the metrics, on the main process.
        """
        super().__init__(eval_period, functools.partial(self._results_of, evaluate))
        self._results: Any = None
        self._steps = -1  # of the training, at the evaluation that `_results` are of
        self._lost_files = False  # whether this process could not write the files of that evaluation

    def _results_of(self, evaluate: Callable[[], Any]) -> Any:
        steps = min(self.trainer.iter + 1, self.trainer.max_iter)  # the same at an early end as before it
        if steps != self._steps or any(comm.all_gather(self._lost_files)):
            StoppableEvaluator.lost_files = False
            self._results = evaluate()
            self._steps, self._lost_files = steps, StoppableEvaluator.lost_files
        return self._results

    def _do_eval(self) -> None:
        hooks = (hook for hook in self.trainer._hooks if isinstance(hook, StopOnInterrupt))
        stop = next(hooks, None)
        if stop is not None and stop._interrupted_by:  # an evaluation before this one, in all processes
            return
        StoppableEvaluator.stop = stop
        StoppableEvaluator.in_training = self.trainer.iter < self.trainer.max_iter
        try:
            with contextlib.suppress(_EvaluationInterrupted):
                super()._do_eval()
        finally:
            StoppableEvaluator.stop, StoppableEvaluator.in_training = None, False

    def after_train(self) -> None:
        if self.trainer.iter >= self.trainer.max_iter:
            super().after_train()
