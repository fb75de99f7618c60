"""Meta-learned weights in decoupled training (SECOND_STAGE.METHOD meta), with a second, class-aware loader.

Ren et al. 2020, https://arxiv.org/abs/2007.10740, train a detector's classifier so, on a frozen network. Each forward
pass takes a batch of the meta set too, whose RoIs are features and labels only, and one step of what is learned, by the
closed form in `lt_det.meta.closed_form`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import torch
from detectron2.engine import HookBase
from detectron2.layers import cat
from detectron2.utils.events import EventStorage
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from lt_det.errors import LtDetError
from lt_det.losses import require_statistics
from lt_det.meta.closed_form import InnerStep
from lt_det.meta.learner import MetaLearner
from lt_det.modeling import LongTailPredictor
from lt_det.modeling.recorder import recording
from lt_det.trainer_keys import DECOUPLED, mark_applied
from lt_det.training.resume.image_stream import ImageStream
from lt_det.training.resume.seeding import seed_generators, shared_seed

_LOG_PERIOD = 20

logger = logging.getLogger(__name__)


class MetaLearning(HookBase):
    """Learns the weights or a hyper-parameter of the box heads' losses while the classifiers are trained.

    Register it behind the hooks that seed the passes. A checkpoint holds what was learned, the optimizer behind it and
    the seeds of the meta images, and a resumed training repeats an uninterrupted one.

    Attributes:
        images: the stream of meta images of this process.
    """

    def __init__(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, loader: Any, method: str, seed: int = -1
    ) -> None:
        """
        Args:
            model: as the trainer calls it, with all but the classifiers frozen, see `train_classifier_only`.
            optimizer: SGD, of the classifiers.
            loader: training loader of the meta set, not yet iterated. Its batches have as many images as the passes of
                the training.
            method: a key of `lt_det.meta.methods.META_METHODS`.
            seed: SEED of the config; negative: a random one that the processes share.

        Raises:
            LtDetError: an unknown method, a loss that it does not work with, or another optimizer.
        """
        if not isinstance(optimizer, torch.optim.SGD):
            raise LtDetError(
                "SECOND_STAGE.METHOD meta looks ahead by a step of SGD, but the optimizer is "
                f"{type(optimizer).__name__}; use SGD, or crt in place of meta."
            )
        require_statistics(model)
        self._model, self._loader = model, loader
        self._network: Any = model.module if isinstance(model, DistributedDataParallel) else model
        seed = shared_seed(seed)
        seed_generators(seed)  # what is learned starts alike in all processes
        predictors = [module for module in self._network.modules() if isinstance(module, LongTailPredictor)]
        self._losses = [MetaLearnedLoss(predictor, optimizer, method) for predictor in predictors]
        for predictor, loss in zip(predictors, self._losses, strict=True):
            predictor.training_loss = loss
        self.images = ImageStream(loader, seed + 1)  # not the random numbers of the training images
        mark_applied(model, DECOUPLED)

    def before_train(self) -> None:
        self._batches: Iterator[Any] = iter(self._loader)
        self._handle = self._model.register_forward_pre_hook(self._before_pass)

    def after_step(self) -> None:
        if (self.trainer.iter + 1) % _LOG_PERIOD:
            return
        for number, loss in enumerate(self._losses):
            stage = f"_stage{number}" if len(self._losses) > 1 else ""
            for name, value in loss.learner.learned().items():
                ends = {"": value} if value.numel() == 1 else {"_min": value.min(), "_max": value.max()}
                for end, scalar in ends.items():
                    self.trainer.storage.put_scalar(f"meta_{name}{end}{stage}", float(scalar))

    def after_train(self) -> None:
        self._handle.remove()
        for loss in self._losses:
            for line in loss.learner.summary():
                logger.info(line)

    def state_dict(self) -> dict[str, Any]:
        return {"images": self.images.state_dict(), "losses": [loss.state_dict() for loss in self._losses]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.images.load_state_dict(state["images"])
        for loss, saved in zip(self._losses, state["losses"], strict=True):
            loss.load_state_dict(saved)

    def _before_pass(self, model: nn.Module, args: tuple[Any, ...]) -> None:
        """Sample RoIs of a meta batch as training does, without the losses."""
        if not (model.training and torch.is_grad_enabled()):
            return
        batch = next(self._batches)
        with torch.no_grad(), EventStorage(), recording(self._network.roi_heads) as stages:
            self._network.forward(batch)  # not by a call: hooks count and seed the passes of the training
        for loss, stage in zip(self._losses, stages, strict=True):
            loss.meta_rois = (stage.features, cat([rois.gt_classes for rois in stage.proposals]))


class MetaLearnedLoss:
    """The loss of one classifier, as `LongTailPredictor.training_loss`.

    Attributes:
        learner: what learns.
        meta_rois: (M, D) features and (M,) labels for the next call.
    """

    def __init__(self, predictor: LongTailPredictor, optimizer: torch.optim.Optimizer, method: str) -> None:
        self._loss: Callable[..., Tensor] = predictor.loss
        self._classifier: nn.Module = predictor.cls_score
        self._optimizer = optimizer
        self.learner = MetaLearner(method, predictor.loss).to(next(predictor.parameters()).device)
        self.meta_rois: tuple[Tensor, Tensor] | None = None

    def __call__(self, logits: Tensor, targets: Tensor, features: Tensor) -> Tensor:
        """
        Args:
            logits: (N, C), with the classifier's graph.
            targets: (N,), K for background.
            features: (N, D), the classifier's input.

        Returns:
            The loss without the learned weights as value, with the gradient of the learned loss. Averaged over the
            processes, as DistributedDataParallel does, both are those of the RoIs of all processes together.
        """
        if not torch.is_grad_enabled():  # a loss that is only looked at
            return self._loss(logits, targets, features)
        if self.meta_rois is None:
            raise LtDetError("The box head got RoIs of no meta batch; call the model that MetaLearning was given.")
        meta_features, meta_targets = self.meta_rois
        self.meta_rois = None
        inner, buffers = self._next_step()
        with torch.autocast(logits.device.type, enabled=False):
            value, A = self.learner.step(
                self._classifier,
                (features.detach().float(), targets),
                (meta_features.float(), meta_targets),
                inner,
                buffers,
                logits.detach().float(),
            )
            processes = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
            learned = processes * (A * logits.float()).sum()
            return processes * value + learned - learned.detach()

    def _next_step(self) -> tuple[InnerStep, dict[str, Tensor]]:
        """The step that the optimizer would take, and its momentum. Clipping and factors of the bias are left out."""
        parameters = dict(self._classifier.named_parameters())
        trained = next(parameter for parameter in parameters.values() if parameter.requires_grad)
        group = next(group for group in self._optimizer.param_groups if any(one is trained for one in group["params"]))
        inner = InnerStep(group["lr"], group["momentum"], group["weight_decay"], group["nesterov"])
        states = {name: self._optimizer.state.get(parameter, {}) for name, parameter in parameters.items()}
        buffers = {name: state.get("momentum_buffer") for name, state in states.items()}
        return inner, {name: buffer for name, buffer in buffers.items() if buffer is not None}

    def state_dict(self) -> dict[str, Any]:
        optimizer = self.learner.method.optimizer
        return {"learned": self.learner.state_dict(), "optimizer": optimizer.state_dict() if optimizer else None}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.learner.load_state_dict(state["learned"])
        if self.learner.method.optimizer and state["optimizer"]:
            self.learner.method.optimizer.load_state_dict(state["optimizer"])
