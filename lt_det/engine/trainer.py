"""Detectron2's DefaultTrainer with bucket evaluation, early checks and a careful checkpointer."""

from __future__ import annotations

import contextlib
import functools
import logging
import pickle
import threading
from collections.abc import Iterator
from typing import Any

from detectron2.checkpoint import DetectionCheckpointer
from detectron2.engine import DefaultTrainer, HookBase, SimpleTrainer, defaults
from detectron2.utils import comm
from torch import nn

from lt_det.config import buckets_of_config
from lt_det.data.image_stream import ImageStream
from lt_det.data.train_loader import build_train_loader
from lt_det.engine.accumulation import build_step_trainer
from lt_det.engine.hooks import LogLossState, StopOnInterrupt
from lt_det.engine.rendezvous import evaluation_timeout
from lt_det.engine.scaling import scaled_to_processes, scaling_line
from lt_det.engine.setup import check_batch, training_stats_of
from lt_det.errors import LtDetError
from lt_det.evaluation.evaluator import LongTailEvaluator
from lt_det.losses import LogitAdjustment, SoftmaxCrossEntropy
from lt_det.modeling import LongTailPredictor

logger = logging.getLogger(__name__)

_BOX_HEAD_KEY = "long_tail_box_heads"


def _box_heads(model: nn.Module) -> list[str]:
    """The loss and classifier of each box predictor of ours, as text."""
    heads = [module for module in model.modules() if isinstance(module, LongTailPredictor)]
    return [f"{type(head.loss).__name__} on {type(head.cls_score).__name__}" for head in heads]


def _adjusts_softmax(model: nn.Module, trained: list[str]) -> bool:
    """Whether the model is post-hoc logit adjustment, which any softmax detector may be given to."""
    losses = [module.loss for module in model.modules() if isinstance(module, LongTailPredictor)]
    post_hoc = bool(losses) and all(isinstance(loss, LogitAdjustment) and loss.post_hoc for loss in losses)
    return post_hoc and all(head.startswith(SoftmaxCrossEntropy.__name__) for head in trained)


class LongTailCheckpointer(DetectionCheckpointer):
    """Reads checkpoints, and says in one sentence why one cannot be used.

    Detectron2 skips weights of another shape with a line in the log. For fine-tuning that is wanted; for a model that
    is to be judged or trained on it means random classifiers, so there `exact` makes it an error.
    """

    exact = False

    def save(self, name: str, **extra: Any) -> None:
        """Also keeps which loss and classifier the weights belong to."""
        super().save(name, **{_BOX_HEAD_KEY: _box_heads(self.model), **extra})

    def load(self, path: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        self._path = path
        if self.exact and not path:
            raise LtDetError(
                "No weights are given, and a random network is not worth judging; set MODEL.WEIGHTS (LazyConfig: "
                "train.init_checkpoint), or use --resume with the OUTPUT_DIR of a training."
            )
        try:
            return super().load(path, *args, **kwargs)
        except LtDetError:
            raise
        except (AssertionError, OSError, EOFError, RuntimeError, KeyError, pickle.UnpicklingError) as error:
            reason = str(error).strip().split("\n")[0] or type(error).__name__
            raise LtDetError(
                f"The weights {path} cannot be loaded ({reason}); check MODEL.WEIGHTS and the network, or use another "
                "checkpoint."
            ) from error

    def _load_model(self, checkpoint: Any) -> Any:
        trained, built = checkpoint.get(_BOX_HEAD_KEY), _box_heads(self.model)
        if self.exact and trained and trained != built and not _adjusts_softmax(self.model, trained):
            raise LtDetError(
                f"The checkpoint {self._path} was trained with {', '.join(sorted(set(trained)))}, but the config says "
                f"{', '.join(sorted(set(built))) or 'none of our losses'}; use the config it was trained with."
            )
        incompatible = super()._load_model(checkpoint)
        if self.exact and incompatible is not None:
            for name, found, wanted in incompatible.incorrect_shapes:
                raise LtDetError(
                    f"The checkpoint {self._path} does not fit this model: {name} is {list(found)} there and "
                    f"{list(wanted)} here; it was trained with another NUM_CLASSES, loss or network: use its config."
                )
            missing = [name for name in incompatible.missing_keys if name.startswith("roi_heads.")]
            if missing and ".loss." in missing[0]:
                raise LtDetError(
                    f"The checkpoint {self._path} was trained with another loss ({missing[0]} is missing); "
                    "use its config."
                )
            if missing:
                raise LtDetError(
                    f"The checkpoint {self._path} holds no trained box head ({missing[0]} is missing); "
                    "give the checkpoint of a finished training."
                )
        return incompatible


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
        check_batch(cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.ACCUMULATE)
        self._buckets = buckets_of_config(cfg, training_stats_of(cfg))
        if comm.is_main_process():
            for name in cfg.DATASETS.TEST:  # now, and not after the hours up to the first evaluation
                self.build_evaluator(cfg, name)
        with _ddp_of_device(cfg.MODEL.DEVICE):
            super().__init__(cfg)
        if self.cfg.SOLVER.ACCUMULATE > 1:
            step = self._trainer
            self._trainer = build_step_trainer(
                step.model, step.data_loader, step.optimizer, self.cfg.SOLVER.AMP.ENABLED, self.cfg.SOLVER.ACCUMULATE
            )

    @classmethod
    def build_train_loader(cls, cfg: Any) -> Any:
        return build_train_loader(cfg)

    @classmethod
    def build_evaluator(cls, cfg: Any, dataset_name: str, output_folder: str | None = None) -> LongTailEvaluator:
        return LongTailEvaluator.from_config(cfg, dataset_name, output_folder)

    def build_hooks(self) -> list[HookBase | None]:
        # Detectron2 makes its checkpointer just before it asks for the hooks that keep it.
        self._images = ImageStream(self._trainer.data_loader)
        checkpointables = {**self.checkpointer.checkpointables, "image_stream": self._images}
        self.checkpointer = LongTailCheckpointer(self._trainer.model, self.cfg.OUTPUT_DIR, **checkpointables)
        hooks: list[HookBase | None] = super().build_hooks()
        # Before the writers, which are last.
        hooks.insert(-1, LogLossState(self._trainer.model, self._buckets))
        if threading.current_thread() is threading.main_thread():  # Python allows signal handlers nowhere else
            hooks.append(StopOnInterrupt(self.checkpointer))
        return hooks

    def resume_or_load(self, resume: bool = True) -> None:
        self.checkpointer.exact = resume and self.checkpointer.has_checkpoint()
        super().resume_or_load(resume=resume)
        self._images.skip(self.start_iter * self.cfg.SOLVER.IMS_PER_BATCH // comm.get_world_size())

    @classmethod
    def test(cls, cfg: Any, model: nn.Module, evaluators: Any = None) -> dict[str, Any]:
        with evaluation_timeout():
            return dict(super().test(cfg, model, evaluators))

    @classmethod
    def evaluate(cls, cfg: Any, resume: bool = False) -> dict[str, Any]:
        """Load MODEL.WEIGHTS, or with `resume` the last checkpoint in OUTPUT_DIR, and judge it on DATASETS.TEST."""
        model = cls.build_model(cfg)
        checkpointer = LongTailCheckpointer(model, save_dir=cfg.OUTPUT_DIR)
        checkpointer.exact = True
        checkpointer.resume_or_load(cfg.MODEL.WEIGHTS, resume=resume)
        return cls.test(cfg, model)
