"""Exponential moving average of the weights (SOLVER.EMA)."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from detectron2.engine import HookBase
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import get_ema_multi_avg_fn

from lt_det.errors import LtDetError
from lt_det.trainer_keys import EMA
from lt_det.training.hooks.metric import mark_hook
from lt_det.training.hooks.options import check_decay
from lt_det.training.launch.running_statistics import running_statistics

_Result = TypeVar("_Result")

logger = logging.getLogger(__name__)


class EMAHook(HookBase):
    """Averages the weights over the training: average = d average + (1 - d) weights, after each optimizer step.

    d is the smaller of `decay` and (1 + n) / (10 + n) after n steps, so that the average soon forgets the weights of
    the start. The parameters that are trained are averaged, and the running statistics of batch normalization. All
    other buffers, such as the state of a loss, are those of the model. Steps that mixed precision skips do not count.

    Checkpoints hold the average in the state of this hook, beside the weights from which ``--resume`` continues; lt_det
    evaluates, exports and fine-tunes the average (see `lt_det.training.weights.averaged`).

    Register it in every process, before the hooks that evaluate and save, and let these evaluate the average::

        ema = EMAHook(trainer.model, decay=0.9998)
        trainer.test = ema.evaluating(trainer.test)
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        """
        Args:
            model: that is trained; what is frozen is frozen already.
            decay: below 1; the average is over about the last 1 / (1 - decay) steps.

        Raises:
            LtDetError: the decay is not between 0 and 1.
        """
        check_decay(decay)
        self._decay = decay
        self._weights = _averaged_tensors(model.module if isinstance(model, DistributedDataParallel) else model)
        self._averages: dict[str, Tensor] = {}  # empty until the training begins
        self._steps = 0
        self._has_stepped = False

    def before_train(self) -> None:
        mark_hook(self.trainer, EMA)
        if not self._averages or self.trainer.start_iter == 0:
            if self.trainer.start_iter:
                logger.warning("The checkpoint holds no moving average (SOLVER.EMA): it starts from its weights.")
            self._set({name: weight.detach() for name, weight in self._weights.items()}, steps=0)
        self._handle = self.trainer.optimizer.register_step_post_hook(self._after_optimizer)

    def after_step(self) -> None:
        if not self._has_stepped:
            return
        self._has_stepped = False
        decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
        averages, weights = self._distinct()
        with torch.no_grad():
            get_ema_multi_avg_fn(decay)(averages, weights, self._steps)
        self._steps += 1

    def after_train(self) -> None:
        self._handle.remove()

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """Within, the model has the average of its weights."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def evaluating(self, evaluate: Callable[..., _Result]) -> Callable[..., _Result]:
        """A function that does what `evaluate` does, with the average of the weights."""

        @functools.wraps(evaluate)
        def evaluate_average(*args: Any, **kwargs: Any) -> _Result:
            with self.averaged():
                return evaluate(*args, **kwargs)

        return evaluate_average

    def state_dict(self) -> dict[str, Any]:
        return {"weights": self._averages, "steps": self._steps} if self._averages else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """
        Raises:
            LtDetError: the state is of other weights.
        """
        weights, steps = state["weights"], state["steps"]
        for name in {*weights, *self._weights}:
            if name not in weights or name not in self._weights or weights[name].shape != self._weights[name].shape:
                raise LtDetError(
                    f"The checkpoint holds the moving average (SOLVER.EMA) of other weights: {name} differs; resume "
                    "with the config of the training."
                )
        self._set({name: weights[name] for name in self._weights}, steps)

    def _set(self, values: dict[str, Tensor], steps: int) -> None:
        """Take copies of `values`; names of one tensor keep one average."""
        copies: dict[int, Tensor] = {}
        for name, weight in self._weights.items():
            copies.setdefault(id(weight), values[name].to(weight.device, weight.dtype, copy=True))
        self._averages = {name: copies[id(weight)] for name, weight in self._weights.items()}
        self._steps = steps

    def _distinct(self) -> tuple[list[Tensor], list[Tensor]]:
        """Averages and weights, each tensor once, whatever names it has."""
        pairs = {id(weight): (self._averages[name], weight.detach()) for name, weight in self._weights.items()}
        return [average for average, _ in pairs.values()], [weight for _, weight in pairs.values()]

    @torch.no_grad()
    def _swap(self) -> None:
        """Exchange averages and weights, in place: optimizer and DistributedDataParallel hold the same tensors."""
        if not self._averages:
            return
        for average, weight in zip(*self._distinct(), strict=True):
            kept = weight.clone()
            weight.copy_(average)
            average.copy_(kept)

    def _after_optimizer(self, *args: Any) -> None:
        self._has_stepped = True  # only noted: clipping calls the optimizer's step inside its own, and both call this


def _averaged_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Trained parameters and running statistics by name; a tensor with two names occurs twice."""
    parameters = model.named_parameters(remove_duplicate=False)
    trained: dict[str, Tensor] = {name: parameter for name, parameter in parameters if parameter.requires_grad}
    return trained | running_statistics(model)
