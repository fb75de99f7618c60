"""Train and evaluate a LazyConfig."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode, instantiate
from detectron2.engine import HookBase, hooks
from detectron2.evaluation import inference_on_dataset, print_csv_format
from detectron2.solver.build import maybe_add_gradient_clipping
from detectron2.utils import comm
from detectron2.utils.events import EventWriter
from omegaconf import OmegaConf
from torch import nn

from lt_det.compat.detectron2 import create_ddp_model
from lt_det.config import META_DEFAULT
from lt_det.data.class_counts import remember_counts
from lt_det.data.class_names import class_names_of
from lt_det.data.image_errors import NameUnreadable
from lt_det.data.worker_signals import end_only_with_parent
from lt_det.errors import LtDetError
from lt_det.losses import require_statistics
from lt_det.trainer_keys import WANDB, mark_applied
from lt_det.training.accumulation import amp_precision
from lt_det.training.assembly import Assembly, TrainingOptions
from lt_det.training.checkpointer import evaluation_checkpointer
from lt_det.training.decoupled import train_classifier_only
from lt_det.training.diagnostics import explained, watched, watched_evaluation
from lt_det.training.hooks.early_stopping import ends_early
from lt_det.training.hooks.options import HookOptions
from lt_det.training.hooks.validation_loss import try_validation_loss, validation_loss
from lt_det.training.launch.agreement import check_same_config
from lt_det.training.launch.timeouts import evaluation_timeout
from lt_det.training.log.writers import build_writers
from lt_det.training.preemption import StoppableEvaluator
from lt_det.training.preflight import meta_names, names_of
from lt_det.training.trial import try_evaluation, try_training_records


class LazyTrainer:
    """Trains a LazyConfig with the nodes that Detectron2's own tool needs, and lt_det's keys in ``train``.

    Attributes:
        model: wrapped in DistributedDataParallel where there are several processes.
        trainer: Detectron2's trainer, in which the hooks run.
        checkpointer: see `Assembly`.
    """

    @explained("The training cannot be built from this config")
    def __init__(self, cfg: Any) -> None:
        """
        Args:
            cfg: LazyConfig; its datasets are registered.

        Raises:
            LtDetError: class counts that are missing, a dataset with mistakes, a record that the training or the
                evaluation cannot process, what parts of the config refuse, or processes with different configs or data.
        """
        check_same_config(cfg)
        self._cfg = cfg = _prepared(cfg)
        train = cfg.train
        method = train.get("second_stage", "")
        model = instantiate(cfg.model).to(train.device)
        train_classifier_only(model, method)
        self.model = create_ddp_model(model, train.device, **train.ddp)
        require_statistics(self.model)
        # Now, and not after the hours up to the first evaluation.
        evaluator = instantiate(cfg.dataloader.evaluator) if comm.is_main_process() else None
        passes, images_per_step = train.get("accumulate", 1), cfg.dataloader.train.total_batch_size
        options = TrainingOptions(
            output_dir=train.output_dir,
            datasets=tuple(names_of(cfg.dataloader.train.dataset)),
            max_iter=train.max_iter,
            images_per_step=images_per_step,
            passes=passes,
            precision=amp_precision(train.amp.enabled, train.amp.get("precision", "float16")),
            decoupled=method,
            meta=train.get("meta_method", META_DEFAULT),
            meta_datasets=tuple(meta_names(cfg)),
            seed=train.get("seed", -1),
            eval_period=train.eval_period,
            log_period=train.log_period,
            checkpoints=train.checkpointer,
            compile=train.get("compile", False),
            hooks=HookOptions.from_lazy(train),
        )
        optimizer = _optimizer(cfg, self.model)
        cfg.dataloader.train.total_batch_size = images_per_step // passes
        meta_loader = None
        if method == "meta":
            cfg.dataloader.meta.total_batch_size = images_per_step // passes
            meta_loader = instantiate(cfg.dataloader.meta)
        loader = instantiate(cfg.dataloader.train)
        self._assembly = Assembly(options, self.model, loader, optimizer, meta_loader=meta_loader)
        self.trainer, self.checkpointer = self._assembly.step_trainer, self._assembly.checkpointer
        self.register_hooks(
            self._assembly.build_hooks(
                lr_scheduler=hooks.LRScheduler(scheduler=instantiate(cfg.lr_multiplier)),
                evaluate=lambda: _evaluate(cfg, self.model),
                validation_loss=lambda: _validation_loss(cfg, self.model),
                build_writers=self._build_writers,
                buckets=evaluator.buckets if evaluator else None,
            )
        )
        self._start = 0
        if evaluator is not None:  # in the main process
            try_training_records(self.model, self.trainer.data_loader, names_of(cfg.dataloader.train.dataset))
            if meta_loader is not None:
                try_training_records(self.model, meta_loader, meta_names(cfg), "meta set")
            name, metric = cfg.dataloader.test.dataset.names, options.hooks.metric
            try_evaluation(self.model, instantiate(cfg.dataloader.test), name, evaluator, metric=metric)
            if options.hooks.val_loss:
                try_validation_loss(self.model, instantiate(cfg.dataloader.validation), name, metric)

    def register_hooks(self, more: list[HookBase]) -> None:
        """Add hooks behind those that there are."""
        self.trainer.register_hooks(more)

    def resume_or_load(self, resume: bool = True) -> None:
        """Load ``train.init_checkpoint``, or with `resume` the last checkpoint in ``train.output_dir``, if any."""
        self._start = self._assembly.resume_or_load(self._cfg.train.init_checkpoint, resume)

    def train(self) -> None:
        with watched(self.trainer, self.checkpointer), ends_early():
            self.trainer.train(self._start, self._cfg.train.max_iter)

    def _build_writers(self) -> list[EventWriter]:
        train = self._cfg.train
        mark_applied(self.model, WANDB)
        shown = OmegaConf.to_container(train)
        return build_writers(train.output_dir, train.max_iter, self.checkpointer, train.get("wandb_project", ""), shown)


def evaluate_lazy(cfg: Any, resume: bool = False) -> Any:
    """Evaluate ``train.init_checkpoint``, or with `resume` the last checkpoint in ``train.output_dir``.

    Args:
        cfg: LazyConfig; its datasets are registered.
        resume: see above.

    Returns:
        The metrics in the main process, None in the others.
    """
    check_same_config(cfg)
    cfg = _prepared(cfg)
    model = create_ddp_model(instantiate(cfg.model).to(cfg.train.device), cfg.train.device, **cfg.train.ddp)
    classes = class_names_of(
        names_of(cfg.dataloader.train.dataset), [cfg.dataloader.test.dataset.names], cache_dir=cfg.train.output_dir
    )
    checkpointer = evaluation_checkpointer(model, cfg.train.output_dir, cfg.train.get("second_stage", ""), classes)
    checkpointer.resume_or_load(cfg.train.init_checkpoint, resume=resume)
    with watched_evaluation():
        return _evaluate(cfg, model)


def _prepared(cfg: Any) -> Any:
    """A copy of the config for OUTPUT_DIR: evaluation folder, class counts, mappers that name unreadable images."""
    cfg = copy.deepcopy(cfg)
    evaluator = cfg.dataloader.evaluator
    evaluator.output_dir = str(Path(cfg.train.output_dir) / "inference" / cfg.dataloader.test.dataset.names)
    remember_counts(names_of(cfg.dataloader.train.dataset), cfg.train.output_dir)
    loaders = [cfg.dataloader.test, cfg.dataloader.train]
    if cfg.train.get("val_loss", False):
        if "validation" not in cfg.dataloader:
            cfg.dataloader.validation = _validation_loader(cfg.dataloader)
        loaders.insert(0, cfg.dataloader.validation)
    if _learns_weights(cfg):
        loaders.insert(0, cfg.dataloader.meta)
    for loader in loaders:  # in Detectron2's configs test refers to train's mapper
        loader.mapper = NameUnreadable(instantiate(loader.mapper))
    return cfg


def _validation_loader(dataloader: Any) -> Any:
    """The test loader with the training's mapper and the augmentations of the evaluation: the resize.

    Raises:
        LtDetError: the mappers are not Detectron2's, so that the augmentations cannot be exchanged.
    """
    mapper, plain = copy.deepcopy(dataloader.train.mapper), dataloader.test.mapper.get("augmentations")
    if "augmentations" not in mapper or plain is None:
        raise LtDetError(
            "train.val_loss needs dataloader.train.mapper and dataloader.test.mapper with their augmentations as an "
            "argument, as Detectron2's DatasetMapper has it; use such mappers, or write dataloader.validation."
        )
    mapper.augmentations = copy.deepcopy(plain)
    loader = copy.deepcopy(dataloader.test)
    loader.mapper = mapper
    if "filter_empty" in loader.dataset:
        loader.dataset.filter_empty = dataloader.train.dataset.get("filter_empty", True)
    return loader


def _learns_weights(cfg: Any) -> bool:
    """Whether the config asks for meta-learned weights.

    Raises:
        LtDetError: it does, but has no loader of the meta set; or it does not, and has what only they need.
    """
    learns = cfg.train.get("second_stage", "") == "meta"
    if learns and "meta" not in cfg.dataloader:
        raise LtDetError(
            "train.second_stage is meta, but there is no dataloader.meta, which draws the images of the meta set; "
            "write it as in docs/recipes.md."
        )
    if not learns and ("meta" in cfg.dataloader or cfg.train.get("meta_method", META_DEFAULT) != META_DEFAULT):
        raise LtDetError(
            "dataloader.meta and train.meta_method have no effect while train.second_stage is "
            f"'{cfg.train.get('second_stage', '')}'; set it to meta, or leave them out."
        )
    return learns


def _optimizer(cfg: Any, model: nn.Module) -> Any:
    cfg.optimizer.params.model = model
    optimizer = instantiate(cfg.optimizer)
    if not cfg.train.get("clip_norm", 0.0):
        return optimizer
    clipping = {"ENABLED": True, "CLIP_TYPE": "norm", "CLIP_VALUE": cfg.train.clip_norm, "NORM_TYPE": 2.0}
    return maybe_add_gradient_clipping(CfgNode({"SOLVER": {"CLIP_GRADIENTS": clipping}}), optimizer)


def _evaluate(cfg: Any, model: nn.Module) -> Any:
    loader = instantiate(cfg.dataloader.test)
    end_only_with_parent(loader)
    with evaluation_timeout():
        results = inference_on_dataset(model, loader, StoppableEvaluator(instantiate(cfg.dataloader.evaluator)))
    if comm.is_main_process():
        print_csv_format(results)
    return results


def _validation_loss(cfg: Any, model: nn.Module) -> dict[str, float]:
    loader = instantiate(cfg.dataloader.validation)
    end_only_with_parent(loader)
    with evaluation_timeout():
        return validation_loss(model, loader)
