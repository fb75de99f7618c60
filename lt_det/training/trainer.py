"""Detectron2's DefaultTrainer with all of lt_det's config keys, and the same for users' own trainers."""

from __future__ import annotations

import difflib
import logging
import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
import yaml
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.data import DatasetMapper, build_detection_test_loader
from detectron2.engine import DefaultTrainer, HookBase, SimpleTrainer, hooks
from detectron2.evaluation import DatasetEvaluator, DatasetEvaluators, verify_results
from detectron2.modeling import GeneralizedRCNNWithTTA
from detectron2.utils import comm
from detectron2.utils.events import EventWriter
from fvcore.common.config import CfgNode
from fvcore.nn.precise_bn import get_bn_modules
from omegaconf import DictConfig
from torch import nn

from lt_det.compat.detectron2 import ddp_on
from lt_det.config import bucket_options, buckets_of_config, checked_meta_method
from lt_det.data.cache.records import load_records
from lt_det.data.class_names import class_names
from lt_det.data.image_errors import NameUnreadable
from lt_det.data.loader import build_train_loader, meta_config, one_pass_config, resample
from lt_det.data.worker_signals import end_only_with_parent
from lt_det.errors import LtDetError
from lt_det.evaluation.evaluator import LongTailEvaluator
from lt_det.losses import ClassificationLoss
from lt_det.trainer_keys import WANDB, mark_applied
from lt_det.training.accumulation import amp_precision
from lt_det.training.assembly import Assembly, TrainingOptions
from lt_det.training.box_evaluator import box_evaluator
from lt_det.training.checkpointer import evaluation_checkpointer
from lt_det.training.decoupled import train_classifier_only
from lt_det.training.detectron2_keys.checks import check_keys_of_heads
from lt_det.training.detectron2_keys.features import missing_feature
from lt_det.training.detectron2_keys.keypoint_ap import with_keypoints
from lt_det.training.detectron2_keys.test_time_augmentation import SUFFIX, augmented_folder, check_augmentation
from lt_det.training.diagnostics import explained, watched, watched_evaluation
from lt_det.training.hooks.early_stopping import ends_early
from lt_det.training.hooks.metric import metric_prefix
from lt_det.training.hooks.options import HookOptions
from lt_det.training.hooks.validation_loss import build_validation_loader, try_validation_loss, validation_loss
from lt_det.training.launch.agreement import check_same_config
from lt_det.training.launch.timeouts import evaluation_timeout
from lt_det.training.lazy_trainer import LazyTrainer
from lt_det.training.log.writers import build_writers
from lt_det.training.preemption import StoppableEvaluator
from lt_det.training.preflight import check_scaled_batch, training_stats_of
from lt_det.training.trial import try_evaluation, try_training_records
from lt_det.training.world_size_scaling import scaled_to_processes, scaling_line
from lt_det.unused_loss import unused_loss

logger = logging.getLogger(__name__)


class LongTailTrainer(DefaultTrainer):
    """Train a yaml config and evaluate it by frequency bucket."""

    checkpointer: DetectionCheckpointer
    _trainer: SimpleTrainer

    @explained("The training cannot be built from this config")
    def __init__(self, cfg: Any) -> None:
        """
        Raises:
            LtDetError: a batch that cannot be split, class counts that are missing or do not fit NUM_CLASSES, a
                dataset with mistakes, an evaluator that would ignore TEST.BUCKETS, a record that the training or the
                evaluation cannot process, or processes with different configs or data.
        """
        check_same_config(cfg)
        written, cfg = cfg, scaled_to_processes(cfg, comm.get_world_size())
        if cfg is not written:
            logger.info(scaling_line(written, cfg))
        check_scaled_batch(written, cfg)
        check_augmentation(cfg, type(self).build_evaluator)
        buckets_of_config(cfg, training_stats_of(cfg))
        evaluators = {}
        if comm.is_main_process():
            for name in cfg.DATASETS.TEST:  # now, and not after the hours up to the first evaluation
                evaluators[name] = type(self).build_evaluator(cfg, name)
                _check_evaluator(cfg, evaluators[name])
        with ddp_on(cfg.MODEL.DEVICE):
            super().__init__(cfg)
        if not hasattr(self, "_assembly"):
            raise LtDetError(
                f"{type(self).__name__}.build_hooks does not call super().build_hooks(), so that lt_det's hooks are "
                "missing; start from the list that it returns."
            )
        if comm.is_main_process():
            try_training_records(self.model, self._trainer.data_loader, cfg.DATASETS.TRAIN)
            if meta_sets := cfg.MODEL.LONG_TAIL.SECOND_STAGE.META.DATASETS:
                try_training_records(self.model, self._assembly.meta_loader, meta_sets, "meta set")
            for name, evaluator in evaluators.items():
                loader = type(self).build_test_loader(cfg, name)
                metric = self._assembly.options.hooks.metric_of(name, cfg.DATASETS.TEST)
                prefix = metric_prefix(name, cfg.DATASETS.TEST)
                expected, all_known = cfg.TEST.EXPECTED_RESULTS, self._evaluates_by_evaluators()
                try_evaluation(self.model, loader, name, evaluator, expected, metric, prefix, all_known)
                if cfg.TEST.VAL_LOSS:
                    try_validation_loss(self.model, type(self).build_validation_loader(cfg, name), name, metric)

    @classmethod
    def build_model(cls, cfg: Any) -> nn.Module:
        """
        Raises:
            LtDetError: the config chooses a loss or a classifier, but the network has no head of lt_det to use it, or
                names a feature that the backbone lacks.
        """
        try:
            model: nn.Module = super().build_model(cfg)
        except KeyError as error:
            if sentence := missing_feature(cfg, error):
                raise LtDetError(sentence) from error
            raise
        _check_loss_is_used(cfg, model)
        return model

    @classmethod
    def build_optimizer(cls, cfg: Any, model: nn.Module) -> torch.optim.Optimizer:
        train_classifier_only(model, cfg.MODEL.LONG_TAIL.SECOND_STAGE.METHOD)
        return super().build_optimizer(cfg, model)

    @classmethod
    def build_train_loader(cls, cfg: Any) -> Any:
        return build_train_loader(cfg, in_equipped_trainer=True)

    @classmethod
    def build_meta_loader(cls, cfg: Any) -> Any:
        """The training loader of the images that SECOND_STAGE.METHOD meta learns from; None with any other METHOD."""
        return cls.build_train_loader(meta_config(cfg)) if cfg.MODEL.LONG_TAIL.SECOND_STAGE.METHOD == "meta" else None

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
    def build_validation_loader(cls, cfg: Any, dataset_name: str) -> Any:
        """The loader of TEST.VAL_LOSS; override it if your training has a mapper of its own."""
        return build_validation_loader(cfg, dataset_name)

    @classmethod
    def build_evaluator(cls, cfg: Any, dataset_name: str, output_folder: str | None = None) -> DatasetEvaluator:
        return with_keypoints(LongTailEvaluator.from_config(cfg, dataset_name, output_folder), cfg, dataset_name)

    def build_hooks(self) -> list[HookBase]:
        """All hooks. The assembly here replaces the step trainer and checkpointer that Detectron2 has just built."""
        step = self._trainer
        self._assembly = Assembly(
            _options(self.cfg),
            step.model,
            step.data_loader,
            step.optimizer,
            hooks_run_in=weakref.proxy(self),
            meta_loader=self.build_meta_loader(self.cfg),
        )
        self._trainer, self.checkpointer = self._assembly.step_trainer, self._assembly.checkpointer
        return self._assembly.build_hooks(
            lr_scheduler=hooks.LRScheduler(),
            evaluate=self._evaluate,
            evaluate_at_end=self._evaluate_augmented if self._augments() else None,
            validation_loss=self._validation_loss,
            build_writers=self.build_writers,
            buckets=buckets_of_config(self.cfg, training_stats_of(self.cfg)),
            before_checkpoint=self._precise_bn(),
        )

    def _evaluate(self) -> Any:
        self._last_eval_results = self.test(self.cfg, self.model)
        return self._last_eval_results

    def _validation_loss(self) -> dict[str, Any]:
        """By name; for several test sets by their names, then by name, as the metrics."""
        cfg, found = self.cfg, {}
        with evaluation_timeout():
            for name in cfg.DATASETS.TEST:
                found[name] = validation_loss(self.model, self.build_validation_loader(cfg, name))
        return next(iter(found.values())) if len(found) == 1 else found

    def _evaluates_by_evaluators(self) -> bool:
        """Whether all metrics come from `build_evaluator`: no class of a user overrides `test`."""
        owner = next(kind for kind in type(self).__mro__ if "test" in vars(kind))
        return "test" not in vars(self) and owner is LongTailTrainer

    def _augments(self) -> bool:
        """Whether to evaluate with TEST.AUG. In Detectron2, a script calls `test_with_TTA`, which its trainer has."""
        if not self.cfg.TEST.AUG.ENABLED:
            return False
        owner = next(kind for kind in type(self).__mro__ if "test_with_TTA" in vars(kind))
        if not issubclass(owner, LongTailTrainer):
            logger.warning("TEST.AUG: your script has to call %s.test_with_TTA, as Detectron2's does.", owner.__name__)
        return issubclass(owner, LongTailTrainer)

    def _evaluate_augmented(self) -> Any:
        results = self.test_with_TTA(self.cfg, self.model)
        self._last_eval_results = {**self._last_eval_results, **results}  # for TEST.EXPECTED_RESULTS
        return results

    def _precise_bn(self) -> list[HookBase]:
        """As DefaultTrainer has it, on a loader of its own."""
        if not (self.cfg.TEST.PRECISE_BN.ENABLED and get_bn_modules(self.model)):
            return []
        cfg = self.cfg.clone()
        cfg.defrost()
        cfg.DATALOADER.NUM_WORKERS = 0
        loader = self.build_train_loader(cfg)
        return [hooks.PreciseBN(cfg.TEST.EVAL_PERIOD, self.model, loader, cfg.TEST.PRECISE_BN.NUM_ITER)]

    def build_writers(self) -> list[EventWriter]:
        project = self.cfg.WANDB_PROJECT
        config = yaml.safe_load(self.cfg.dump()) if project else {}
        for part in (self.model, self._trainer.data_loader):
            mark_applied(part, WANDB)
        return build_writers(self.cfg.OUTPUT_DIR, self.max_iter, self.checkpointer, project, config)

    def resume_or_load(self, resume: bool = True) -> None:
        self.start_iter = self._assembly.resume_or_load(self.cfg.MODEL.WEIGHTS, resume)

    def train(self) -> Any:
        with watched(self, self.checkpointer):
            with ends_early():
                return super().train()
            if not (self.cfg.TEST.EXPECTED_RESULTS and comm.is_main_process()):  # as at the end of super().train()
                return None
            verify_results(self.cfg, self._last_eval_results)
            return self._last_eval_results

    @classmethod
    def test(cls, cfg: Any, model: nn.Module, evaluators: Any = None) -> dict[str, Any]:
        if evaluators is None:
            evaluators = [cls.build_evaluator(cfg, name) for name in cfg.DATASETS.TEST]
        elif isinstance(evaluators, DatasetEvaluator):
            evaluators = [evaluators]
        with evaluation_timeout():
            return dict(super().test(cfg, model, [StoppableEvaluator(evaluator) for evaluator in evaluators]))

    @classmethod
    def test_with_TTA(cls, cfg: Any, model: nn.Module) -> dict[str, Any]:
        """Evaluate with Detectron2's test-time augmentation; the names of the results end with ``_TTA``."""
        logger.info("Evaluating with test-time augmentation (TEST.AUG); the results below are those of *%s.", SUFFIX)
        folders = {name: augmented_folder(cfg.OUTPUT_DIR, name) for name in cfg.DATASETS.TEST}
        evaluators = [cls.build_evaluator(cfg, name, folder) for name, folder in folders.items()]
        results = cls.test(cfg, GeneralizedRCNNWithTTA(cfg, model), evaluators)
        return {f"{key}{SUFFIX}": value for key, value in results.items()}

    @classmethod
    def evaluate(cls, cfg: Any, resume: bool = False) -> dict[str, Any]:
        """Load MODEL.WEIGHTS, or with `resume` the last checkpoint in OUTPUT_DIR, and evaluate it on DATASETS.TEST.

        With TEST.AUG.ENABLED also with test-time augmentation, see `test_with_TTA`.
        """
        check_same_config(cfg)
        check_augmentation(cfg, cls.build_evaluator)
        model = cls.build_model(cfg)
        method = cfg.MODEL.LONG_TAIL.SECOND_STAGE.METHOD
        checkpointer = evaluation_checkpointer(model, cfg.OUTPUT_DIR, method, class_names(cfg))
        checkpointer.resume_or_load(cfg.MODEL.WEIGHTS, resume=resume)
        with watched_evaluation():
            results = cls.test(cfg, model)
            return {**results, **cls.test_with_TTA(cfg, model)} if cfg.TEST.AUG.ENABLED else results


def equip(trainer: Any, **methods: Callable[..., Any]) -> Any:
    """Make a user's own trainer apply all of lt_det's config keys, as `LongTailTrainer` does.

    From a class derived from DefaultTrainer it makes a class with the same name: what the class overrides stays, and
    its training loader gets lt_det's samplers. It can be a decorator, too::

        @equip
        class Trainer(DefaultTrainer): ...

    From a config (yaml with lt_det's keys, or LazyConfig) it makes a trainer, in place of the model, optimizer, loader,
    hooks and SimpleTrainer that a script would build itself::

        trainer = equip(cfg)
        trainer.resume_or_load(resume=args.resume)
        trainer.train()

    Args:
        trainer: class or config.
        methods: for a yaml config, functions in place of DefaultTrainer's class methods, with the same arguments:
            ``build_model(cfg)``, ``build_optimizer(cfg, model)``, ``build_train_loader(cfg)``,
            ``build_evaluator(cfg, dataset_name)``, ...

    Returns:
        A class, or a trainer with ``model``, ``register_hooks``, ``resume_or_load`` and ``train``.

    Raises:
        LtDetError: something else, such as a trainer that exists already, or a method that is not one of
            DefaultTrainer's class methods; see also `LongTailTrainer` and `LazyTrainer`.
    """
    if isinstance(trainer, type) and issubclass(trainer, DefaultTrainer) and not methods:
        return _equipped_class(trainer)
    if isinstance(trainer, CfgNode) and "LONG_TAIL" in trainer.get("MODEL", {}):
        _check_method_names(methods)
        overrides = {name: staticmethod(method) for name, method in methods.items()}
        return _equipped_class(type("Trainer", (DefaultTrainer,), overrides))(trainer)
    if isinstance(trainer, DictConfig) and {"train", "dataloader"} <= set(trainer) and not methods:
        return LazyTrainer(trainer)
    given = trainer.__name__ if isinstance(trainer, type) else type(trainer).__name__
    raise LtDetError(
        "equip takes a class derived from DefaultTrainer, a yaml config with lt_det's keys (lt_det.add_lt_config) or a "
        f"LazyConfig, before a trainer is built, and methods only with a yaml config; it was given {given}"
        f"{' and ' + ', '.join(methods) if methods else ''}."
    )


def _check_method_names(methods: Iterable[str]) -> None:
    known = sorted(name for name, member in vars(DefaultTrainer).items() if isinstance(member, classmethod))
    for name in methods:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}? " if close else ""
            raise LtDetError(
                f"equip was given {name}, but DefaultTrainer has no class method {name}; {hint}equip takes "
                f"{', '.join(known)}."
            )


def _equipped_class(trainer: type[DefaultTrainer]) -> type[LongTailTrainer]:
    """What `trainer` overrides is looked up first, then LongTailTrainer, then DefaultTrainer."""
    if trainer is DefaultTrainer or issubclass(trainer, LongTailTrainer):
        return LongTailTrainer if trainer is DefaultTrainer else trainer
    builds_loader = next(kind for kind in trainer.__mro__ if "build_train_loader" in vars(kind)) is not DefaultTrainer

    class Equipped(trainer, LongTailTrainer):
        @classmethod
        def build_optimizer(cls, cfg: Any, model: nn.Module) -> torch.optim.Optimizer:
            _check_loss_is_used(cfg, model)  # here, because the model may come from a `build_model` of its own
            train_classifier_only(model, cfg.MODEL.LONG_TAIL.SECOND_STAGE.METHOD)
            return super().build_optimizer(cfg, model)

        @classmethod
        def build_train_loader(cls, cfg: Any) -> Any:
            if builds_loader:
                return resample(super().build_train_loader(one_pass_config(cfg)), cfg)
            return super().build_train_loader(cfg)

    Equipped.__name__, Equipped.__qualname__ = trainer.__name__, trainer.__qualname__
    Equipped.__module__, Equipped.__doc__ = trainer.__module__, trainer.__doc__
    return Equipped


def _options(cfg: Any) -> TrainingOptions:
    return TrainingOptions(
        output_dir=cfg.OUTPUT_DIR,
        datasets=tuple(cfg.DATASETS.TRAIN),
        max_iter=cfg.SOLVER.MAX_ITER,
        images_per_step=cfg.SOLVER.IMS_PER_BATCH,
        passes=cfg.SOLVER.ACCUMULATE,
        precision=amp_precision(cfg.SOLVER.AMP.ENABLED, cfg.SOLVER.AMP.PRECISION),
        decoupled=cfg.MODEL.LONG_TAIL.SECOND_STAGE.METHOD,
        meta=checked_meta_method(cfg),
        meta_datasets=tuple(cfg.MODEL.LONG_TAIL.SECOND_STAGE.META.DATASETS),
        seed=cfg.SEED,
        eval_period=cfg.TEST.EVAL_PERIOD,
        checkpoints={"period": cfg.SOLVER.CHECKPOINT_PERIOD, "max_to_keep": cfg.SOLVER.MAX_TO_KEEP},
        compile=cfg.MODEL.COMPILE,
        hooks=HookOptions.from_config(cfg),
    )


def _check_loss_is_used(cfg: Any, model: nn.Module) -> None:
    if any(isinstance(module, ClassificationLoss) for module in model.modules()):
        return
    if cfg.MODEL.LONG_TAIL.LOSS.NAME != "softmax":  # which is also the loss of Detectron2's heads
        raise LtDetError(unused_loss(cfg))
    check_keys_of_heads(cfg)


def _check_evaluator(cfg: Any, evaluator: DatasetEvaluator) -> None:
    """A user's own trainer may evaluate as it likes, but not while the config asks for buckets."""
    if box_evaluator(evaluator) is not None:
        return
    parts = evaluator._evaluators if isinstance(evaluator, DatasetEvaluators) else [evaluator]
    names = ", ".join(type(part).__name__ for part in parts)
    advice = "return LongTailEvaluator.from_config(cfg, dataset_name) from build_evaluator, or do not override it"
    if bucket_options(cfg) is not None:
        raise LtDetError(f"TEST.BUCKETS is set, but build_evaluator returns {names}, which ignores it; {advice}.")
    logger.warning("%s does not evaluate by frequency bucket; to do so, %s.", names, advice)
