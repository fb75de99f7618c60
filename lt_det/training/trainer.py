"""Detectron2's DefaultTrainer with bucket evaluation, early checks and failures told in one sentence."""

from __future__ import annotations

import contextlib
import functools
import logging
import threading
from collections.abc import Iterator
from typing import Any

import torch
import yaml
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.data import DatasetMapper, build_detection_test_loader
from detectron2.engine import DefaultTrainer, HookBase, SimpleTrainer, defaults
from detectron2.engine.hooks import EvalHook
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from detectron2.utils.events import EventWriter
from torch import nn

from lt_det.config import buckets_of_config
from lt_det.data.cache.records import load_records
from lt_det.data.image_errors import NameUnreadable
from lt_det.data.loader import build_train_loader
from lt_det.data.worker_signals import end_only_with_parent
from lt_det.errors import LtDetError
from lt_det.evaluation.evaluator import LongTailEvaluator
from lt_det.losses import ClassificationLoss
from lt_det.training.accumulation import amp_precision, build_step_trainer
from lt_det.training.checkpointer import judging_checkpointer, tell_if_finished
from lt_det.training.decoupled import build_checkpointer, train_classifier_only
from lt_det.training.diagnostics import watched
from lt_det.training.hooks import build_log_hooks
from lt_det.training.launch.timeouts import evaluation_timeout
from lt_det.training.preemption import EvalUnlessStopped, StopOnInterrupt, StoppableEvaluator
from lt_det.training.resume.image_stream import ImageStream
from lt_det.training.resume.metrics_log import rewind_metrics
from lt_det.training.resume.rng import SeedPasses
from lt_det.training.setup import check_scaled_batch, training_stats_of
from lt_det.training.world_size_scaling import scaled_to_processes, scaling_line
from lt_det.training.writers import build_writers

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def _ddp_of_device(device: str) -> Iterator[None]:
    """Detectron2's trainer ties each copy of the model to a GPU, which torch refuses for a model on the CPU."""
    original = defaults.create_ddp_model
    if device == "cpu":
        defaults.create_ddp_model = functools.partial(original, device_ids=None)
    try:
        yield
    finally:
        defaults.create_ddp_model = original


class LongTailTrainer(DefaultTrainer):
    """Train a config and judge it by frequency bucket."""

    checkpointer: DetectionCheckpointer
    _trainer: SimpleTrainer

    def __init__(self, cfg: Any) -> None:
        """
        Raises:
            LtDetError: a batch that cannot be shared, class counts that are missing or do not fit NUM_CLASSES, or a
                data set with mistakes.
        """
        written, cfg = cfg, scaled_to_processes(cfg, comm.get_world_size())
        if cfg is not written:
            logger.info(scaling_line(written, cfg))
        check_scaled_batch(written, cfg)
        self._buckets = buckets_of_config(cfg, training_stats_of(cfg))
        if comm.is_main_process():
            for name in cfg.DATASETS.TEST:  # now, and not after the hours up to the first evaluation
                self.build_evaluator(cfg, name)
        with _ddp_of_device(cfg.MODEL.DEVICE):
            super().__init__(cfg)
        step, passes = self._trainer, self.cfg.SOLVER.ACCUMULATE
        precision = amp_precision(self.cfg.SOLVER.AMP.ENABLED, self.cfg.SOLVER.AMP.PRECISION)
        self._trainer = build_step_trainer(step.model, step.data_loader, step.optimizer, precision, passes)

    @classmethod
    def build_model(cls, cfg: Any) -> nn.Module:
        """
        Raises:
            LtDetError: the config chooses a loss, but a network in which no head of ours would use it.
        """
        model: nn.Module = super().build_model(cfg)
        loss = cfg.MODEL.LONG_TAIL.LOSS.NAME  # softmax is the stock heads' own
        if loss != "softmax" and not any(isinstance(module, ClassificationLoss) for module in model.modules()):
            raise LtDetError(
                f"MODEL.LONG_TAIL.LOSS.NAME is {loss}, but the network has no box head of lt_det and would train with "
                "another loss; set MODEL.ROI_HEADS.NAME to LongTailROIHeads, LongTailCascadeROIHeads or "
                "LongTailRes5ROIHeads."
            )
        return model

    @classmethod
    def build_optimizer(cls, cfg: Any, model: nn.Module) -> torch.optim.Optimizer:
        train_classifier_only(model, cfg.MODEL.LONG_TAIL.SECOND_STAGE.METHOD)
        return super().build_optimizer(cfg, model)

    @classmethod
    def build_train_loader(cls, cfg: Any) -> Any:
        return build_train_loader(cfg)

    @classmethod
    def build_test_loader(cls, cfg: Any, dataset_name: str) -> Any:
        mapper = NameUnreadable(DatasetMapper(cfg, False))
        if cfg.MODEL.LOAD_PROPOSALS:
            loader = build_detection_test_loader(cfg, dataset_name, mapper=mapper)
        else:
            records = load_records(dataset_name, filter_empty=False)
            loader = build_detection_test_loader(dataset=records, mapper=mapper, num_workers=cfg.DATALOADER.NUM_WORKERS)
        end_only_with_parent(loader)
        return loader

    @classmethod
    def build_evaluator(cls, cfg: Any, dataset_name: str, output_folder: str | None = None) -> LongTailEvaluator:
        return LongTailEvaluator.from_config(cfg, dataset_name, output_folder)

    def build_hooks(self) -> list[HookBase | None]:
        # Detectron2 makes its checkpointer just before it asks for the hooks that keep it.
        self._images = ImageStream(self._trainer.data_loader, self.cfg.SEED)
        checkpointables = {**self.checkpointer.checkpointables, "image_stream": self._images}
        method = self.cfg.MODEL.LONG_TAIL.SECOND_STAGE.METHOD
        self.checkpointer = build_checkpointer(method, self._trainer.model, self.cfg.OUTPUT_DIR, **checkpointables)
        hooks: list[HookBase | None] = [SeedPasses(self._trainer.model, self.cfg.SEED), *super().build_hooks()]
        for place, hook in enumerate(hooks):
            if isinstance(hook, EvalHook):
                hooks[place] = EvalUnlessStopped(self.cfg.TEST.EVAL_PERIOD, hook._func)
        # Before the writers, which are last and only in the main process; after the evaluation in all.
        place = len(hooks) - comm.is_main_process()
        hooks[place:place] = build_log_hooks(self._trainer.model, self.cfg.SOLVER.IMS_PER_BATCH, self._buckets)
        if threading.current_thread() is threading.main_thread():  # Python allows signal handlers nowhere else
            hooks.append(StopOnInterrupt(self.checkpointer))
        return hooks

    def build_writers(self) -> list[EventWriter]:
        project = self.cfg.WANDB_PROJECT
        config = yaml.safe_load(self.cfg.dump()) if project else {}
        return build_writers(self.cfg.OUTPUT_DIR, self.max_iter, self.checkpointer, project, config)

    def resume_or_load(self, resume: bool = True) -> None:
        self.checkpointer.exact = resume and self.checkpointer.has_checkpoint()
        super().resume_or_load(resume=resume)
        tell_if_finished(self.checkpointer, self.start_iter, self.max_iter)
        self._images.skip(self.start_iter * self.cfg.SOLVER.IMS_PER_BATCH // comm.get_world_size())
        if self.start_iter and comm.is_main_process():
            rewind_metrics(self.cfg.OUTPUT_DIR, self.start_iter)

    def train(self) -> Any:
        with watched(self, self.checkpointer):
            return super().train()

    @classmethod
    def test(cls, cfg: Any, model: nn.Module, evaluators: Any = None) -> dict[str, Any]:
        if evaluators is None:
            evaluators = [cls.build_evaluator(cfg, name) for name in cfg.DATASETS.TEST]
        elif isinstance(evaluators, DatasetEvaluator):
            evaluators = [evaluators]
        with evaluation_timeout():
            return dict(super().test(cfg, model, [StoppableEvaluator(evaluator) for evaluator in evaluators]))

    @classmethod
    def evaluate(cls, cfg: Any, resume: bool = False) -> dict[str, Any]:
        """Load MODEL.WEIGHTS, or with `resume` the last checkpoint in OUTPUT_DIR, and judge it on DATASETS.TEST."""
        model = cls.build_model(cfg)
        checkpointer = judging_checkpointer(model, cfg.OUTPUT_DIR, cfg.MODEL.LONG_TAIL.SECOND_STAGE.METHOD)
        checkpointer.resume_or_load(cfg.MODEL.WEIGHTS, resume=resume)
        return cls.test(cfg, model)
