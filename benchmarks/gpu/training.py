"""Trainings that the stages start: their configs, and what each iteration took and gave."""

from __future__ import annotations

import json
import logging
import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from detectron2.engine import DefaultTrainer, HookBase
from detectron2.engine.hooks import PeriodicCheckpointer
from detectron2.utils.env import seed_all_rng

from benchmarks.gpu import measure
from benchmarks.gpu.host_synchronizations import HostSynchronizations
from benchmarks.gpu.machine import device
from lt_det.training import LongTailTrainer, load_config

STOCK = "Detectron2"


@dataclass(frozen=True)
class Iteration:
    """One iteration: its number, its losses by name, and the state after it.

    Attributes:
        number: counted from 0.
        losses: by name; their sum is "total_loss".
        seconds: since the end of the iteration before, with data loading and hooks. Of the first one also the start.
        data_seconds: of these, waiting for the images.
        loss_scale: of float16 training; 1 in other precisions.
        host_synchronizations: how often the host waited for the device, if it was counted, see `train`.
    """

    number: int
    losses: dict[str, float]
    seconds: float
    data_seconds: float
    loss_scale: float
    host_synchronizations: int | None


class _Log(HookBase):
    def __init__(self, counted: int | None) -> None:
        self.iterations: list[Iteration] = []
        self._counted = counted
        self._counter: HostSynchronizations | None = None

    def before_train(self) -> None:
        self._last = time.perf_counter()

    def before_step(self) -> None:
        self._counter = None
        if self.trainer.iter == self._counted:
            self._counter = HostSynchronizations(device()).__enter__()

    def after_step(self) -> None:
        if self._counter is not None:
            self._counter.__exit__(None, None, None)
        measure.synchronize(device())
        now = time.perf_counter()
        latest = {name: value for name, (value, _) in self.trainer.storage.latest().items()}
        scaler = getattr(self.trainer._trainer, "grad_scaler", None)
        self.iterations.append(
            Iteration(
                number=self.trainer.iter,
                losses={name: value for name, value in latest.items() if name == "total_loss" or "loss_" in name},
                seconds=now - self._last,
                data_seconds=latest.get("data_time", 0.0),
                loss_scale=scaler.get_scale() if scaler is not None else 1.0,
                host_synchronizations=None if self._counter is None else self._counter.count,
            )
        )
        self._last = now


class _WithoutWriters:
    """Detectron2's writers need TensorBoard."""

    def build_writers(self) -> list[Any]:
        return []


class Trainer(_WithoutWriters, LongTailTrainer):
    """lt_det's."""


class StockTrainer(_WithoutWriters, DefaultTrainer):
    """Detectron2's."""


def build(trainer_class: type[DefaultTrainer], cfg: Any) -> DefaultTrainer:
    """A trainer whose network starts from the config's seed; Detectron2 seeds in `default_setup` only."""
    seed_all_rng(cfg.SEED)
    return trainer_class(cfg)


def train(
    trainer: DefaultTrainer, resume: bool = False, save: bool = True, counted: int | None = None
) -> list[Iteration]:
    """Train to the end and return the iterations.

    Args:
        trainer: from `build`.
        resume: from the last checkpoint in OUTPUT_DIR.
        save: write checkpoints, the last one at the end.
        counted: the iteration whose host synchronizations are counted, which takes time; None: of none. Not the last
            one, in which hooks write the log.
    """
    if not save:
        trainer._hooks = [hook for hook in trainer._hooks if not isinstance(hook, PeriodicCheckpointer)]
    log = _Log(counted)
    trainer.register_hooks([log])
    trainer.resume_or_load(resume=resume)
    trainer.train()
    return log.iterations


def median_seconds(iterations: Sequence[Iteration], warm_up: int) -> float:
    return statistics.median(iteration.seconds for iteration in iterations[warm_up:])


def mini_lvis_config(folder: Path, iterations: int, *overrides: Any) -> Any:
    """EQL on mini_lvis, without evaluation and, but for the end, without checkpoints.

    Args:
        folder: for the checkpoints.
        iterations: of the training; the learning rate drops at two thirds.
        overrides: KEY VALUE pairs that win.
    """
    train_json = Path(os.environ["DETECTRON2_DATASETS"], "mini_lvis", "mini_lvis_train.json")
    num_classes = len(json.loads(train_json.read_text())["categories"])
    keys = {
        "MODEL.DEVICE": device(),
        "MODEL.ROI_HEADS.NUM_CLASSES": num_classes,
        "DATASETS.TEST": (),
        "TEST.EVAL_PERIOD": 0,
        "TEST.RESAMPLES": 0,
        "DATALOADER.NUM_WORKERS": loading_processes(),
        "SOLVER.MAX_ITER": iterations,
        "SOLVER.STEPS": (max(1, 2 * iterations // 3),),
        "SOLVER.WARMUP_ITERS": min(100, iterations // 3),
        "SOLVER.CHECKPOINT_PERIOD": 10**6,
        "OUTPUT_DIR": str(folder),
    }
    return config("configs/mini_lvis_eql.yaml", keys, *overrides)


def config(file: str, keys: dict[str, Any], *overrides: Any) -> Any:
    """The config of a yaml file with keys replaced. Its log is not wanted below warnings."""
    logging.disable(logging.INFO)
    pairs = [word for key, value in keys.items() for word in (key, value)]
    cfg = load_config(file, [*pairs, *overrides])
    Path(cfg.OUTPUT_DIR).mkdir(parents=True, exist_ok=True)
    return cfg


def loading_processes() -> int:
    """Four on a GPU machine; none on the CPU, whose cores compute."""
    return min(4, os.cpu_count() or 1) if torch.cuda.is_available() else 0
