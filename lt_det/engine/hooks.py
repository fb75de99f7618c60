"""Training hooks."""

from __future__ import annotations

import os
import signal
from types import FrameType
from typing import Any

import torch
from detectron2.engine import HookBase
from detectron2.utils import comm


class StopOnInterrupt(HookBase):
    """On Ctrl-C finish the iteration, save a checkpoint, then stop; a second Ctrl-C stops at once.

    Saving in the middle of an iteration could keep weights that are half updated.
    """

    def __init__(self, checkpointer: Any) -> None:
        self._checkpointer = checkpointer
        self._asked = False

    def before_train(self) -> None:
        self._device = (
            "cuda" if torch.distributed.is_initialized() and torch.distributed.get_backend() == "nccl" else "cpu"
        )
        self._previous = signal.signal(signal.SIGINT, self._ask)

    def after_step(self) -> None:
        if not self._agreed():
            return
        iteration = self.trainer.iter
        if comm.is_main_process():
            self._checkpointer.save(f"model_{iteration:07d}", iteration=iteration)
        comm.synchronize()  # the process that ends first takes the others with it: not before all is saved
        raise KeyboardInterrupt(
            f"Interrupted after iteration {iteration}; the checkpoint is saved, go on with --resume."
        )

    def _agreed(self) -> bool:
        """Whether any process was asked: one that stopped alone would leave the others waiting for its gradients."""
        if comm.get_world_size() == 1:
            return self._asked
        asked = torch.tensor(float(self._asked), device=self._device)
        torch.distributed.all_reduce(asked)
        return bool(asked.item())

    def after_train(self) -> None:
        signal.signal(signal.SIGINT, self._previous)

    def _ask(self, signum: int, frame: FrameType | None) -> None:
        if self._asked:
            raise KeyboardInterrupt("Interrupted twice; the last checkpoint is the one on disk.")
        self._asked = True
        os.write(2, b"\nStopping after this iteration and saving; Ctrl-C again stops at once.\n")  # safe in a handler
