"""The parts of a training, built one by one, and its first two iterations on a few images."""

from __future__ import annotations

from typing import Any

from detectron2.engine import TrainerBase
from torch import nn

from lt_det.compat.detectron2 import mapped_dataset, without_logger_setup
from lt_det.config import bucket_options
from lt_det.data.sampling.repeat_factors import threshold_remark
from lt_det.doctor.finding import Finding
from lt_det.errors import LtDetError
from lt_det.evaluation.evaluator import LongTailEvaluator
from lt_det.losses import ClassificationLoss, ClassReweighting
from lt_det.losses.registry import require_statistics
from lt_det.statistics.class_stats import ClassStats
from lt_det.terminal import count_of
from lt_det.trainer_keys import BEST_CHECKPOINT, EARLY_STOPPING, VAL_LOSS, mark_applied
from lt_det.training.detectron2_keys.keypoint_ap import with_keypoints
from lt_det.training.diagnostics import watched
from lt_det.training.hooks.metric import metric_prefix
from lt_det.training.hooks.options import HookOptions
from lt_det.training.hooks.validation_loss import try_validation_loss
from lt_det.training.trainer import LongTailTrainer
from lt_det.training.trial import Mapped, try_evaluation, try_training_records
from lt_det.training.weights.address import remote_weights

_ITERATIONS = 2  # the second has a loss from the weights that the first has changed
_IMAGES = 2  # per pass; batch normalization may not work with one
_SHORT_EDGE, _LONG_EDGE = 256, 448  # images on the CPU, in pixels; larger ones take long there


class TrainingTrial:
    """Builds what a training builds, in the same way, and keeps it for the checks after.

    Attributes:
        model: the network; None until `network` has built it.
        loader: the training loader; None until `sampling` has built it.
        problem_at_start: what `iterations` found, see `LongTailCheckpointer`.
    """

    def __init__(self, cfg: Any, stats: ClassStats | None) -> None:
        """
        Args:
            cfg: of a training in one process, with a temporary OUTPUT_DIR, and with the CPU as MODEL.DEVICE where the
                training's own is not there.
            stats: class counts of the training set; None if they are not known.
        """
        self._cfg, self._stats = cfg, stats
        self.model: nn.Module | None = None
        self.loader: Any = None
        self.problem_at_start = ""

    def network(self) -> str:
        model = LongTailTrainer.build_model(self._cfg)
        if self._stats is not None:
            require_statistics(model)
        LongTailTrainer.build_lr_scheduler(self._cfg, LongTailTrainer.build_optimizer(self._cfg, model))
        self.model = model
        trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
        return f"{trained:,} weights to train"

    def loss(self) -> Finding:
        """What the class counts leave the loss of `model` to balance."""
        assert self.model is not None
        assert self._stats is not None
        modules = list(self.model.modules())
        losses: list[ClassReweighting | ClassificationLoss]
        losses = [module for module in modules if isinstance(module, ClassReweighting)]
        losses = losses or [module for module in modules if isinstance(module, ClassificationLoss)]
        remarks = dict.fromkeys(remark for loss in losses if (remark := loss.remark(self._stats)))
        return Finding("loss", str(self._cfg.MODEL.LONG_TAIL.LOSS.NAME) if losses else "", " ".join(remarks))

    def sampling(self) -> Finding:
        self.loader = LongTailTrainer.build_train_loader(self._cfg)
        sampler, remark = str(self._cfg.DATALOADER.SAMPLER_TRAIN), ""
        if sampler == "RepeatFactorTrainingSampler" and (mapped := mapped_dataset(self.loader)) is not None:
            remark = threshold_remark(mapped[0], self._cfg.DATALOADER.REPEAT_THRESHOLD)
        return Finding("sampling", sampler, remark)

    def records(self) -> str:
        """Map one training record of each kind of annotation; needs `model` and `loader`."""
        assert self.model is not None
        mapped = try_training_records(self.model, self.loader, self._cfg.DATASETS.TRAIN)
        return f"{_mapped(mapped)}{', '.join(self._cfg.DATASETS.TRAIN)} can be trained on"

    def meta_records(self) -> str:
        """The same as `records` for SECOND_STAGE.META.DATASETS; empty without them. Needs `model`."""
        assert self.model is not None
        names = self._cfg.MODEL.LONG_TAIL.SECOND_STAGE.META.DATASETS
        if not names:
            return ""
        loader = LongTailTrainer.build_meta_loader(self._cfg)
        mapped = try_training_records(self.model, loader, names, "meta set") if loader is not None else []
        return f"{_mapped(mapped)}the meta set {', '.join(names)} can be trained on"

    def evaluation(self, name: str) -> str:
        """Map one record of each kind of annotation of a test set, and evaluate one image."""
        cfg, stats = self._cfg, self._stats
        buckets = bucket_options(cfg)
        if stats is None and buckets is not None and buckets.bucket_map is None:
            buckets = None  # they are made of counts, which doctor does not have
        evaluator = LongTailEvaluator(
            name,
            stats=stats,
            buckets=buckets,
            distributed=False,
            draws=cfg.TEST.RESAMPLES,
            max_dets=cfg.TEST.MAX_DETS,
        )
        both = with_keypoints(evaluator, cfg, name)
        tried = ""
        if self.model is not None:
            loader = LongTailTrainer.build_test_loader(_small(cfg), name)
            metric = HookOptions.from_config(cfg).metric_of(name, cfg.DATASETS.TEST)
            expected, prefix = cfg.TEST.EXPECTED_RESULTS, metric_prefix(name, cfg.DATASETS.TEST)
            tried = _mapped(try_evaluation(self.model, loader, name, both, expected, metric, prefix))
            if cfg.TEST.VAL_LOSS:
                loader = LongTailTrainer.build_validation_loader(_small(cfg), name)
                try_validation_loss(self.model, loader, name, metric)
        if stats is None:
            return f"{tried}{name}; the classes of training are not known"
        return f"{tried}{name} has the classes of training"

    def iterations(self) -> str:
        """Train with `model` from MODEL.WEIGHTS, if they are on this machine, on one or two images per pass."""
        cfg, model = _small(self._cfg), self.model
        images = max(1, min(_IMAGES, cfg.SOLVER.IMS_PER_BATCH // cfg.SOLVER.ACCUMULATE))
        cfg.SOLVER.IMS_PER_BATCH = images * cfg.SOLVER.ACCUMULATE
        cfg.DATALOADER.NUM_WORKERS = 0
        cfg.DATASETS.TEST, cfg.TEST.AUG.ENABLED = (), False  # see `evaluation`
        cfg.WANDB_PROJECT = ""
        cfg.SOLVER.BEST_CHECKPOINT.METRIC, cfg.SOLVER.BEST_CHECKPOINT.MODE = "", "auto"
        cfg.SOLVER.EARLY_STOPPING.PATIENCE, cfg.SOLVER.EARLY_STOPPING.MIN_DELTA = 0, 0.0
        cfg.TEST.VAL_LOSS = cfg.MODEL.COMPILE = False  # compiling would take longer than all else
        assert model is not None
        mark_applied(model, BEST_CHECKPOINT, EARLY_STOPPING, VAL_LOSS)  # by the training
        with without_logger_setup():
            trainer = _trial_trainer(model)(cfg)
        trainer.checkpointer.save_to_disk = False
        remote = remote_weights(cfg.MODEL.WEIGHTS or "")
        if remote is None or remote.file.is_file():
            trainer.resume_or_load(resume=False)
            self.problem_at_start = trainer.checkpointer.problem_at_start
        iterations = min(_ITERATIONS, cfg.SOLVER.MAX_ITER)
        with watched(trainer, trainer.checkpointer):
            TrainerBase.train(trainer, 0, iterations)
        bad = [name for name, weight in trainer.model.state_dict().items() if not weight.isfinite().all()]
        if bad:
            raise LtDetError(
                f"After {count_of(iterations, 'iteration')} the weights {bad[0]} are infinite or NaN; lower "
                "SOLVER.BASE_LR or clip gradients (SOLVER.CLIP_GRADIENTS)."
            )
        return f"{count_of(iterations, 'iteration')} of {count_of(images, 'image')} per pass"


def _trial_trainer(model: Any) -> type[LongTailTrainer]:
    """A trainer of a network that exists already, without evaluation."""

    class Trial(LongTailTrainer):
        @classmethod
        def build_model(cls, cfg: Any) -> nn.Module:
            network: nn.Module = model
            return network

        def _evaluate(self) -> Any:
            return {}

    return Trial


def _mapped(mapped: list[Mapped]) -> str:
    """How many records have been tried; empty for a loader that cannot be looked into."""
    if not mapped:
        return ""
    return f"{count_of(len(mapped), 'image')} read, one of each kind of annotation; "


def _small(cfg: Any) -> Any:
    """A copy of the config, with small images on the CPU; sizes that make no sense stay, for the mapper to refuse."""
    small = cfg.clone()
    small.defrost()
    if not str(cfg.MODEL.DEVICE).startswith("cpu"):
        return small
    for key, edge in (
        ("MIN_SIZE_TRAIN", _SHORT_EDGE),
        ("MIN_SIZE_TEST", _SHORT_EDGE),
        ("MAX_SIZE_TRAIN", _LONG_EDGE),
        ("MAX_SIZE_TEST", _LONG_EDGE),
    ):
        sizes = small.INPUT[key]
        if isinstance(sizes, list | tuple):
            small.INPUT[key] = type(sizes)(min(size, edge) if isinstance(size, int) else size for size in sizes)
        elif isinstance(sizes, int):
            small.INPUT[key] = min(sizes, edge)
    return small
