"""How a training is put together: step trainer, stream of images, checkpointer and hooks, from plain arguments.

`LongTailTrainer` (yaml configs, users' own trainers) and `LazyTrainer` (LazyConfigs) both come from here.
"""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from detectron2.engine import HookBase, TrainerBase, hooks
from detectron2.utils import comm
from detectron2.utils.events import EventWriter
from fvcore.common.checkpoint import Checkpointer
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from lt_det.modeling.compilation import compile_backbone
from lt_det.statistics.buckets import FrequencyBuckets
from lt_det.terminal import count_of
from lt_det.trainer_keys import COMPILE, MAX_TO_KEEP, WANDB, mark_applied
from lt_det.training.accumulation import build_step_trainer
from lt_det.training.decoupled import build_checkpointer
from lt_det.training.hooks.best_checkpoint import BestCheckpoint
from lt_det.training.hooks.early_stopping import EarlyStopping
from lt_det.training.hooks.ema import EMAHook
from lt_det.training.hooks.options import HookOptions
from lt_det.training.hooks.validation_loss import ValidationLoss
from lt_det.training.launch.agreement import check_same_data, check_same_option, check_same_weights
from lt_det.training.launch.running_statistics import share_running_statistics
from lt_det.training.log.hooks import WriteLog, build_log_hooks
from lt_det.training.meta import MetaLearning
from lt_det.training.preemption import EvalUnlessStopped, StopOnInterrupt
from lt_det.training.resume.data_fingerprint import DataFingerprint, TrainingData
from lt_det.training.resume.image_stream import ImageStream
from lt_det.training.resume.loaded_state import check_loaded_state
from lt_det.training.resume.metrics_log import rewind_metrics
from lt_det.training.resume.old_checkpoints import KeepLatest
from lt_det.training.resume.optimizer_options import compare_options, options_of
from lt_det.training.resume.seed_passes import SeedPasses
from lt_det.training.weights.address import check_remote_weights

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingOptions:
    """What is the same in a yaml config and in a LazyConfig.

    Attributes:
        output_dir: OUTPUT_DIR.
        datasets: names of the training sets.
        meta_datasets: names of the sets of the meta loader, if it has some of its own; they may be the training sets.
        max_iter: iterations, each of them one optimizer step.
        images_per_step: images per iteration, in all processes and passes together.
        passes: forward and backward passes per iteration.
        precision: of mixed-precision training; None: off.
        decoupled: method of decoupled training; empty: everything is trained.
        meta: what decoupled training with the method "meta" learns, a key of `lt_det.meta.methods.META_METHODS`.
        seed: negative: a random one.
        eval_period: iterations between evaluations; 0: only at the end.
        log_period: iterations between log entries.
        checkpoints: arguments of `KeepLatest`: ``period``, ``max_to_keep``.
        compile: whether to compile the backbone.
        hooks: best checkpoint, early stopping, moving average and validation loss.
    """

    output_dir: str
    datasets: Sequence[str]
    max_iter: int
    images_per_step: int
    passes: int = 1
    precision: torch.dtype | None = None
    decoupled: str = ""
    meta: str = ""
    meta_datasets: Sequence[str] = ()
    seed: int = -1
    eval_period: int = 0
    log_period: int = 20
    checkpoints: Mapping[str, Any] = field(default_factory=lambda: {"period": 5000})
    compile: bool = False
    hooks: HookOptions = field(default_factory=HookOptions)


class Assembly:
    """The parts of a training, built from plain arguments and connected to each other.

    Attributes:
        step_trainer: takes the optimizer steps.
        meta_loader: of the meta set, as the trainer built it; None without one.
        images: the stream of images, which a resumed training continues.
        checkpointer: saves and loads all of it.
    """

    def __init__(
        self,
        options: TrainingOptions,
        model: nn.Module,
        data_loader: Any,
        optimizer: torch.optim.Optimizer,
        hooks_run_in: TrainerBase | None = None,
        meta_loader: Any = None,
    ) -> None:
        """
        Args:
            options: see there.
            model: frozen already where training is decoupled, and wrapped in DistributedDataParallel.
            data_loader: batches for one forward pass, not yet iterated.
            optimizer: of the parameters of `model` that are trained.
            hooks_run_in: the trainer whose loop runs; None: the step trainer itself.
            meta_loader: batches of the meta set, where decoupled training needs them.

        Raises:
            LtDetError: the processes have different training data, or torch cannot compile here.
        """
        self.options = options
        if options.compile:
            compile_backbone(model.module if isinstance(model, DistributedDataParallel) else model)
        for part in (model, data_loader):
            mark_applied(part, COMPILE)
        self.step_trainer = build_step_trainer(model, data_loader, optimizer, options.precision, options.passes)
        self._trainer = hooks_run_in if hooks_run_in is not None else self.step_trainer
        self.meta_loader = meta_loader
        self._data = TrainingData(DataFingerprint.of(data_loader, options.datasets), self._meta_fingerprint())
        check_same_data(self._data.fingerprint)
        if self._data.meta is not None:
            check_same_data(self._data.meta, "meta sets")
        self.images = ImageStream(data_loader, options.seed)
        self.checkpointer = build_checkpointer(
            options.decoupled,
            model,
            options.output_dir,
            trainer=self._trainer,
            image_stream=self.images,
            training_data=self._data,
        )
        self.checkpointer.classes = self._data.fingerprint.classes or ()
        self._model = model
        self._meta = None
        if options.decoupled == "meta":
            self._meta = MetaLearning(model, optimizer, meta_loader, options.meta, options.seed)

    def _meta_fingerprint(self) -> DataFingerprint | None:
        """None where the meta images are those of the training, which are compared already."""
        names = self.options.meta_datasets
        if self.meta_loader is None or list(names) in ([], list(self.options.datasets)):
            return None
        return DataFingerprint.of(self.meta_loader, names)

    def build_hooks(
        self,
        *,
        lr_scheduler: HookBase,
        evaluate: Callable[[], Any],
        build_writers: Callable[[], list[EventWriter]],
        buckets: FrequencyBuckets | None,
        evaluate_at_end: Callable[[], Any] | None = None,
        validation_loss: Callable[[], Any] | None = None,
        before_checkpoint: Sequence[HookBase] = (),
    ) -> list[HookBase]:
        """All hooks, in their order: those that change the model come before the checkpoint, the writers after all.

        Args:
            lr_scheduler: Detectron2's LRScheduler.
            evaluate: returns the metrics on the main process; called with the model as the checkpoint holds it.
            build_writers: called in the main process only.
            buckets: frequency buckets of the training classes; needed in the main process only.
            evaluate_at_end: another evaluation, after the last of `evaluate`.
            validation_loss: returns the losses on the test set, on the main process; called where the options ask
                for it.
            before_checkpoint: hooks that change the model, such as Detectron2's PreciseBN.
        """
        options, is_main = self.options, comm.is_main_process()
        for part in (self._model, self.step_trainer.data_loader):
            mark_applied(part, MAX_TO_KEEP)
        found: list[HookBase] = [SeedPasses(self._model, options.seed)]
        if self._meta is not None:
            found.append(self._meta)
        average = _as_it_stands
        if options.hooks.ema_decay is not None:
            ema = EMAHook(self._model, options.hooks.ema_decay)
            found.append(ema)
            average = ema.evaluating

        def as_saved(evaluate: Callable[[], Any]) -> Callable[[], Any]:
            """`evaluate`, with the weights and running statistics of the checkpoint in every process."""
            return average(functools.partial(_with_shared_statistics, self._model, evaluate))

        found += [hooks.IterationTimer(), lr_scheduler]
        found += before_checkpoint
        if is_main:
            found.append(KeepLatest(self.checkpointer, **options.checkpoints))
        found.append(EvalUnlessStopped(options.eval_period, as_saved(evaluate)))
        if evaluate_at_end is not None:
            found.append(EvalUnlessStopped(0, as_saved(evaluate_at_end)))
        if options.hooks.val_loss and validation_loss is not None:
            found.append(ValidationLoss(options.eval_period, as_saved(validation_loss)))
        found += self._choosing_hooks()
        found += build_log_hooks(self._model, options.images_per_step, buckets, options.log_period)
        if is_main:
            found.append(WriteLog(build_writers(), options.log_period, options.eval_period))
        else:
            for part in (self._model, self.step_trainer.data_loader):
                mark_applied(part, WANDB)  # the main process writes
        if threading.current_thread() is threading.main_thread():  # Python allows signal handlers nowhere else
            found.append(StopOnInterrupt(self.checkpointer))
        return found

    def _choosing_hooks(self) -> list[HookBase]:
        """Those that compare evaluations, in every process."""
        options, period = self.options.hooks, self.options.eval_period
        if options.metric is None:
            return []
        found: list[HookBase] = [BestCheckpoint(period, self.checkpointer, options.metric)]
        if options.patience:
            early = EarlyStopping(period, self.checkpointer, options.metric, options.patience, options.min_delta)
            found.append(early)
        return found

    def resume_or_load(self, weights: str, resume: bool) -> int:
        """Load `weights`, or with `resume` the last checkpoint if there is one; return the first iteration to train.

        Raises:
            LtDetError: see the checkpointer; other classes than those of the last checkpoint; or processes that have
                loaded different weights.
        """
        options = self.options
        check_same_option("--resume", resume)
        self.checkpointer.exact = resumes = resume and self.checkpointer.has_checkpoint()
        if not resumes and comm.is_main_process() and (remote := check_remote_weights(weights or "")):
            logger.info("MODEL.WEIGHTS %s.", remote)
        configured = options_of(self.step_trainer.optimizer)
        self.checkpointer.resume_or_load(weights, resume=resume)
        check_same_weights(self._model)
        if resumes and not self._data.is_compared:
            logger.info(
                "The checkpoint is of an earlier version of lt_det: whether the data have changed is not known."
            )
        if resumes:
            path, optimizer = self.checkpointer.get_checkpoint_file(), self.step_trainer.optimizer
            check_loaded_state(path, self._trainer.iter, optimizer)
            compare_options(configured, options_of(optimizer), path)
        start = self._trainer.iter + 1 if resumes else 0
        _warn_if_finished(self.checkpointer, start, options.max_iter)
        for images in [self.images] if self._meta is None else [self.images, self._meta.images]:
            images.skip(start * options.images_per_step // comm.get_world_size())
        if start and comm.is_main_process():
            rewind_metrics(options.output_dir, start)
        return start


def _warn_if_finished(checkpointer: Checkpointer, done: int, max_iter: int) -> None:
    """Log that a resumed training has no iteration left; otherwise it would end silently.

    If it was killed before model_final.pth was written, that is written now.
    """
    if done < max_iter:
        return
    logger.warning(
        f"Nothing is trained: the training in {checkpointer.save_dir} is finished, with {count_of(done, 'iteration')} "
        f"done of {max_iter}. To train longer, raise SOLVER.MAX_ITER (LazyConfig: train.max_iter); to start another "
        "training from its weights, set MODEL.WEIGHTS (train.init_checkpoint) to them and OUTPUT_DIR to a new folder."
    )
    if not checkpointer.get_checkpoint_file().endswith("model_final.pth"):
        checkpointer.save("model_final", iteration=done - 1)


def _as_it_stands(evaluate: Callable[..., Any]) -> Callable[..., Any]:
    return evaluate


def _with_shared_statistics(model: nn.Module, evaluate: Callable[[], Any]) -> Any:
    share_running_statistics(model)
    return evaluate()
