"""Training hooks."""

from __future__ import annotations

import os
import signal
from types import FrameType
from typing import Any

import torch
from detectron2.engine import HookBase
from detectron2.utils import comm
from torch import nn

from lt_det.class_stats import FrequencyBuckets
from lt_det.losses import ClassificationLoss

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)  # Ctrl-C; SLURM and torchrun; SLURM's time limit


class Stopped(KeyboardInterrupt):
    """Training was asked to stop, and has saved a checkpoint."""

    def __init__(self, message: str, signum: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signum  # what a shell reports for a command ended by a signal


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
        again = b"; Ctrl-C again stops at once" if signum == signal.SIGINT else b""
        if not self._asked and comm.is_main_process():
            os.write(2, b"\nStopping after this iteration and saving" + again + b".\n")  # safe in a handler
        self._asked = signum


class LogLossState(HookBase):
    """Put what the losses know about the classes into the event storage, as the mean of each bucket.

    ``loss_state/gradient_ratio/rare`` is EQLv2's ratio of positive to negative gradient of the rare classes; a cascade
    has ``loss_state/stage1/...`` and so on.
    """

    def __init__(self, model: nn.Module, buckets: FrequencyBuckets, period: int = 20) -> None:
        """
        Args:
            model: with any number of losses in it.
            buckets: of the training set.
            period: iterations between two looks.
        """
        self._losses = [module for module in model.modules() if isinstance(module, ClassificationLoss)]
        self._buckets, self._period = buckets, period

    def after_step(self) -> None:
        if (self.trainer.iter + 1) % self._period and self.trainer.iter + 1 != self.trainer.max_iter:
            return
        for stage, loss in enumerate(self._losses, start=1):
            prefix = f"loss_state/stage{stage}" if len(self._losses) > 1 else "loss_state"
            for name, values in loss.state_by_class().items():
                self._put(f"{prefix}/{name}", values.double().cpu())

    def _put(self, name: str, values: torch.Tensor) -> None:
        if values.dim() == 0:
            self.trainer.storage.put_scalar(name, values.item(), smoothing_hint=False)
            return
        for bucket, bucket_name in enumerate(self._buckets.names):
            mean = values[self._buckets.members(bucket)].nanmean()
            if mean.isfinite():  # no class of the bucket has been seen yet
                self.trainer.storage.put_scalar(f"{name}/{bucket_name}", mean.item(), smoothing_hint=False)
