"""A training that is asked to stop, by Ctrl-C, by SLURM or by torchrun: it saves first, also out of an evaluation."""

from __future__ import annotations

import contextlib
import os
import signal
from types import FrameType
from typing import Any

import torch
from detectron2.engine import HookBase
from detectron2.engine.hooks import EvalHook
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)  # Ctrl-C; SLURM and torchrun; SLURM's time limit


class Stopped(KeyboardInterrupt):
    """Training was asked to stop, and has saved a checkpoint."""

    def __init__(self, message: str, signum: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signum  # what a shell reports for a command ended by a signal


class _LeftOff(Exception):
    """All processes leave an evaluation."""


class StopOnInterrupt(HookBase):
    """On Ctrl-C, SIGTERM or SIGUSR1 finish the iteration, save a checkpoint, then stop; a second Ctrl-C stops at once.

    Saving in the middle of an iteration could keep weights that are half updated. An evaluation by a
    `StoppableEvaluator` is left after the image it is at: SLURM may not wait for its end.
    """

    def __init__(self, checkpointer: Any) -> None:
        self._checkpointer = checkpointer
        self._asked = self._left_off = 0
        self._previous: dict[signal.Signals, Any] = {}

    def before_train(self) -> None:
        self._device = (
            "cuda" if torch.distributed.is_initialized() and torch.distributed.get_backend() == "nccl" else "cpu"
        )
        self._previous = {signum: signal.signal(signum, self._ask) for signum in STOP_SIGNALS}

    def after_step(self) -> None:
        signum = self._agreed()
        if not signum:
            return
        iteration = self.trainer.iter
        if comm.is_main_process():
            self._checkpointer.save(f"model_{iteration:07d}", iteration=iteration)
        comm.synchronize()  # the process that ends first takes the others with it: not before all is saved
        raise Stopped(f"Interrupted after iteration {iteration}; the checkpoint is saved, go on with --resume.", signum)

    def after_train(self) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)
        if self._left_off and self.trainer.iter >= self.trainer.max_iter:
            message = "Interrupted in the evaluation of the finished training; judge it with --resume."
            raise Stopped(message, self._left_off)

    def leave_evaluation(self, at_the_end: bool) -> None:
        """Raise in all processes if any was asked to stop: each waits here for the others once, when it is asked or at
        the end of its images."""
        if not (at_the_end or self._asked):
            return
        self._left_off = self._agreed()
        if self._left_off:
            raise _LeftOff

    def _agreed(self) -> int:
        """The signal that any process got: one that stopped alone would leave the others waiting for its gradients."""
        if comm.get_world_size() == 1:
            return self._asked
        asked = torch.tensor(self._asked, device=self._device)
        torch.distributed.all_reduce(asked, torch.distributed.ReduceOp.MAX)
        return int(asked.item())

    def _ask(self, signum: int, frame: FrameType | None) -> None:
        if self._asked == signum == signal.SIGINT:
            raise KeyboardInterrupt("Interrupted twice; the last checkpoint is the one on disk.")
        first = not self._asked
        self._asked = signum  # before anything is called: another signal may come within this handler
        if first and comm.is_main_process():
            again = b"; Ctrl-C again stops at once" if signum == signal.SIGINT else b""
            os.write(2, b"\nStopping after this iteration and saving" + again + b".\n")  # safe in a handler


class StoppableEvaluator(DatasetEvaluator):
    """Another evaluator, which a training that is asked to stop leaves in all processes where `EvalUnlessStopped` uses
    it; else it is that one."""

    stop: StopOnInterrupt | None = None  # of the evaluation that may be left now; signals belong to the whole process

    def __init__(self, evaluator: DatasetEvaluator) -> None:
        self._evaluator = evaluator

    def reset(self) -> None:
        self._evaluator.reset()

    def process(self, inputs: Any, outputs: Any) -> None:
        self._look(at_the_end=False)
        self._evaluator.process(inputs, outputs)

    def evaluate(self) -> Any:
        self._look(at_the_end=True)
        return self._evaluator.evaluate()

    def _look(self, at_the_end: bool) -> None:
        if StoppableEvaluator.stop is None:
            return
        try:
            StoppableEvaluator.stop.leave_evaluation(at_the_end)
        except _LeftOff:
            self._evaluator.reset()  # what it has put on the disk so far
            raise


class EvalUnlessStopped(EvalHook):
    """Detectron2's EvalHook, which may be left, and then leaves it to `StopOnInterrupt` to end the training.

    Detectron2's would also judge what failed or was stopped in its last iteration, and wait there for processes that
    wait for this one.
    """

    def _do_eval(self) -> None:
        hooks = (hook for hook in self.trainer._hooks if isinstance(hook, StopOnInterrupt))
        StoppableEvaluator.stop = next(hooks, None)
        try:
            with contextlib.suppress(_LeftOff):
                super()._do_eval()
        finally:
            StoppableEvaluator.stop = None

    def after_train(self) -> None:
        if self.trainer.iter >= self.trainer.max_iter:
            super().after_train()
