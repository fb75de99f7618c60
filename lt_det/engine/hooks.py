"""Training hooks."""

from __future__ import annotations

import os
import signal
from types import FrameType
from typing import Any

import torch
from detectron2.engine import HookBase
from detectron2.engine.hooks import EvalHook
from detectron2.utils import comm

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)  # Ctrl-C; SLURM and torchrun; SLURM's time limit


class Stopped(KeyboardInterrupt):
    """Training was asked to stop, and has saved a checkpoint."""

    def __init__(self, message: str, signum: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signum  # what a shell reports for a command ended by a signal


class EvalUnlessFailed(EvalHook):
    """Detectron2's EvalHook, which would also judge what failed or was stopped in its last iteration, and wait there
    for processes that wait for this one."""

    def after_train(self) -> None:
        if self.trainer.iter >= self.trainer.max_iter:
            super().after_train()


class StopOnInterrupt(HookBase):
    """On Ctrl-C, SIGTERM or SIGUSR1 finish the iteration, save a checkpoint, then stop; a second Ctrl-C stops at once.

    Saving in the middle of an iteration could keep weights that are half updated.
    """

    def __init__(self, checkpointer: Any) -> None:
        self._checkpointer = checkpointer
        self._asked = 0

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

    def _agreed(self) -> int:
        """The signal that any process got: one that stopped alone would leave the others waiting for its gradients."""
        if comm.get_world_size() == 1:
            return self._asked
        asked = torch.tensor(self._asked, device=self._device)
        torch.distributed.all_reduce(asked, torch.distributed.ReduceOp.MAX)
        return int(asked.item())

    def after_train(self) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)

    def _ask(self, signum: int, frame: FrameType | None) -> None:
        if self._asked == signum == signal.SIGINT:
            raise KeyboardInterrupt("Interrupted twice; the last checkpoint is the one on disk.")
        first = not self._asked
        self._asked = signum  # before anything is called: another signal may come within this handler
        if first and comm.is_main_process():
            again = b"; Ctrl-C again stops at once" if signum == signal.SIGINT else b""
            os.write(2, b"\nStopping after this iteration and saving" + again + b".\n")  # safe in a handler
