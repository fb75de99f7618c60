"""Hooks that log what to watch in a long-tailed training."""

from __future__ import annotations

import resource
import sys
from collections.abc import Sequence

import torch
from detectron2.engine import HookBase
from detectron2.engine.hooks import PeriodicWriter
from detectron2.utils.events import EventWriter
from torch import Tensor, nn

from lt_det.losses import ClassificationLoss
from lt_det.losses._all_reduce import sum_over_processes
from lt_det.modeling import LongTailPredictor
from lt_det.statistics.buckets import FrequencyBuckets
from lt_det.training.hooks.metric import is_evaluated


def build_log_hooks(
    model: nn.Module, images: int, buckets: FrequencyBuckets | None, period: int = 20
) -> list[HookBase]:
    """All hooks of this file, for any trainer of Detectron2: after its IterationTimer, before its writers.

    Register them in every process, at the same place relative to hooks in which processes communicate (evaluation).

    Args:
        model: with lt_det's box predictors.
        images: images per iteration, in all processes.
        buckets: frequency buckets of the training classes; None in other processes than the main one.
        period: iterations between log entries, best that of the writers.
    """
    return [LogSpeed(images, period), LogAccuracy(model, buckets, period), LogLossState(model, buckets, period)]


class WriteLog(PeriodicWriter):
    """Detectron2's PeriodicWriter, except that it also writes after each evaluation.

    Metrics that wait for the next period are lost if the training is killed before it, and replaced if the next
    evaluation comes before it.
    """

    def __init__(self, writers: Sequence[EventWriter], period: int, eval_period: int) -> None:
        """
        Args:
            writers: of the log.
            period: iterations between log entries.
            eval_period: TEST.EVAL_PERIOD, iterations between evaluations.
        """
        super().__init__(writers, period)
        self._all, self._eval_period = writers, eval_period

    def after_step(self) -> None:
        if not is_evaluated(self.trainer, self._eval_period):
            super().after_step()
            return
        for writer in self._all:
            writer.write()


class _Periodic(HookBase):
    """Logs every `period` iterations, and after the last one."""

    def __init__(self, period: int) -> None:
        self._period = period

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        if done % self._period == 0 or done == self.trainer.max_iter:
            self.log()

    def log(self) -> None:
        raise NotImplementedError

    def _put(self, name: str, value: float) -> None:
        self.trainer.storage.put_scalar(name, value, smoothing_hint=False)


class LogSpeed(_Periodic):
    """Log ``images_per_second``, ``data_time_share`` and ``max_mem`` (MB, of this process) over the last period.

    The time of an iteration comes from Detectron2's IterationTimer, without hooks (evaluation, checkpoints); the data
    time is that of the slowest process. Memory is the peak of the GPU memory, on the CPU of the process's memory.
    """

    def __init__(self, images: int, period: int = 20) -> None:
        """
        Args:
            images: images per iteration, in all processes.
            period: iterations between log entries.
        """
        super().__init__(period)
        self._images = images

    def log(self) -> None:
        self._put("max_mem", peak_memory() / 2**20)
        storage, histories = self.trainer.storage, self.trainer.storage.histories()
        if not {"time", "data_time"} <= histories.keys():  # in the first iterations, and without writers
            return
        timed = min(storage.count_samples(name, self._period) for name in ("time", "data_time"))
        seconds = histories["time"].avg(timed)
        self._put("images_per_second", self._images / seconds)
        self._put("data_time_share", histories["data_time"].avg(timed) / seconds)


class LogAccuracy(_Periodic):
    """Log ``accuracy/rare`` and so on: the fraction of RoIs on objects of rare classes that is classified correctly.

    It covers all processes and all iterations since the last log entry; a bucket without such a RoI is left out. A
    cascade has ``stage0/accuracy/rare`` and so on.
    """

    def __init__(self, model: nn.Module, buckets: FrequencyBuckets | None, period: int = 20) -> None:
        """
        Args:
            model: with any number of lt_det's box predictors in it.
            buckets: frequency buckets of the training classes; None in other processes than the main one.
            period: iterations between log entries.
        """
        super().__init__(period)
        self._counters = [module.accuracy for module in model.modules() if isinstance(module, LongTailPredictor)]
        self._buckets = buckets

    def log(self) -> None:
        if not self._counters:
            return
        counts = sum_over_processes(torch.stack([counter.take() for counter in self._counters])).cpu()
        if self._buckets is None:
            return
        for scope, (rois, correct) in zip(_scopes(len(counts)), counts, strict=True):
            for bucket, name in enumerate(self._buckets.names):
                members = self._buckets.members(bucket)
                if rois[members].any():
                    accuracy = correct[members].sum() / rois[members].sum()
                    self._put(f"{scope}accuracy/{name}", accuracy.item())


class LogLossState(_Periodic):
    """Log the state of the losses, as the mean over the classes of each bucket.

    ``loss_state/gradient_ratio/rare`` is EQLv2's ratio of positive to negative gradient of the rare classes; a cascade
    has ``stage0/loss_state/...`` and so on.
    """

    def __init__(self, model: nn.Module, buckets: FrequencyBuckets | None, period: int = 20) -> None:
        """
        Args:
            model: with any number of losses in it.
            buckets: frequency buckets of the training classes; None: nothing is logged.
            period: iterations between log entries.
        """
        super().__init__(period)
        self._losses = [module for module in model.modules() if isinstance(module, ClassificationLoss)]
        self._buckets = buckets

    def log(self) -> None:
        if self._buckets is None:
            return
        for scope, loss in zip(_scopes(len(self._losses)), self._losses, strict=True):
            for name, values in loss.state_by_class().items():
                self._put_by_bucket(f"{scope}loss_state/{name}", values.double().cpu(), self._buckets)

    def _put_by_bucket(self, name: str, values: Tensor, buckets: FrequencyBuckets) -> None:
        if values.dim() == 0:
            self._put(name, values.item())
            return
        for bucket, bucket_name in enumerate(buckets.names):
            mean = values[buckets.members(bucket)].nanmean()
            if mean.isfinite():  # no class of the bucket has been seen yet
                self._put(f"{name}/{bucket_name}", mean.item())


def _scopes(stages: int) -> list[str]:
    """The prefixes that Detectron2's cascade gives to the values of its stages."""
    return [f"stage{stage}/" for stage in range(stages)] if stages > 1 else [""] * stages


def peak_memory() -> int:
    """Bytes of this process: allocated by torch on the GPU, or without a GPU all of its memory."""
    on_gpu = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
    unit = 1 if sys.platform == "darwin" else 2**10
    return on_gpu or unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
