"""Trainers of single steps: gradient accumulation and mixed precision."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import torch
from detectron2.engine import AMPTrainer, SimpleTrainer
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from lt_det.compat.detectron2 import next_batch, write_losses
from lt_det.compat.torch import grad_scaler
from lt_det.errors import LtDetError
from lt_det.trainer_keys import ACCUMULATE, PRECISION, mark_applied

Losses = dict[str, Tensor]


class AccumulatingTrainer(SimpleTrainer):
    """Detectron2's SimpleTrainer, with several batches per iteration and one step with their mean gradient.

    With several processes only the last pass exchanges gradients (Li et al. 2020, section 3.2.4,
    https://arxiv.org/abs/2006.15704). The logged losses are means over the passes.
    """

    applies: tuple[str, ...] = (ACCUMULATE,)  # config keys

    def __init__(self, model: Any, data_loader: Any, optimizer: Any, passes: int, **options: Any) -> None:
        """
        Args:
            model, data_loader, optimizer, options: see Detectron2.
            passes: batches per iteration.
        """
        super().__init__(model, data_loader, optimizer, **options)
        self.passes = passes

    def run_step(self) -> None:
        _mark_applied(self)
        means: Losses = {}
        data_time = 0.0
        self.optimizer.zero_grad()
        for done in range(1, self.passes + 1):
            start = time.perf_counter()
            batch = next_batch(self)
            data_time += time.perf_counter() - start
            with contextlib.nullcontext() if done == self.passes else _without_exchange(self.model):
                losses = self._forward(batch)
                self._backward(torch.stack(list(losses.values())).sum() / self.passes)
            for name, value in losses.items():
                means[name] = means.get(name, 0) + value.detach() / self.passes
        self.after_backward()
        write_losses(self, means, data_time)
        self._update()

    def _forward(self, batch: Any) -> Losses:
        losses = self.model(batch)
        return {"total_loss": losses} if isinstance(losses, Tensor) else dict(losses)

    def _backward(self, loss: Tensor) -> None:
        loss.backward()

    def _update(self) -> None:
        self.optimizer.step()


class MixedPrecisionTrainer(AMPTrainer):
    """Detectron2's AMPTrainer, which can also resume a training in another precision, without a loss scale."""

    applies: tuple[str, ...] = (PRECISION,)

    def run_step(self) -> None:
        _mark_applied(self)
        super().run_step()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        scale = state.get("grad_scaler") or self.grad_scaler.state_dict()
        super().load_state_dict({**state, "grad_scaler": scale})


class AccumulatingAMPTrainer(AccumulatingTrainer, MixedPrecisionTrainer):
    """As AccumulatingTrainer, in mixed precision: float16 with a scaled loss, or bfloat16.

    If the gradient of any pass overflows, the step is skipped; the scale is updated once per step.
    """

    applies = (ACCUMULATE, PRECISION)

    def _forward(self, batch: Any) -> Losses:
        with torch.autocast(next(self.model.parameters()).device.type, dtype=self.precision):
            return super()._forward(batch)

    def _backward(self, loss: Tensor) -> None:
        self.grad_scaler.scale(loss).backward()

    def _update(self) -> None:
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()


def amp_precision(enabled: bool, name: str) -> torch.dtype | None:
    """The precision of mixed-precision training; None where it is off.

    Args:
        enabled, name: SOLVER.AMP.ENABLED and SOLVER.AMP.PRECISION.

    Raises:
        LtDetError: the name is neither float16 nor bfloat16.
    """
    known = {"float16": torch.float16, "bfloat16": torch.bfloat16}
    if name not in known:
        raise LtDetError(
            f"SOLVER.AMP.PRECISION (LazyConfig: train.amp.precision) is '{name}'; write {' or '.join(known)}."
        )
    return known[name] if enabled else None


def build_step_trainer(
    model: Any, data_loader: Any, optimizer: Any, precision: torch.dtype | None, passes: int
) -> SimpleTrainer:
    """The trainer of single steps that goes with precision and passes.

    Args:
        model, data_loader, optimizer: see Detectron2.
        precision: see `amp_precision`. Only float16 needs a scaled loss.
        passes: forward and backward passes per optimizer step.
    """
    if precision is None:
        if passes == 1:
            return SimpleTrainer(model, data_loader, optimizer)
        return AccumulatingTrainer(model, data_loader, optimizer, passes)
    scaler = grad_scaler(next(model.parameters()).device.type, enabled=precision is torch.float16)
    if passes == 1:
        return MixedPrecisionTrainer(model, data_loader, optimizer, grad_scaler=scaler, precision=precision)
    return AccumulatingAMPTrainer(model, data_loader, optimizer, passes, grad_scaler=scaler, precision=precision)


def _mark_applied(trainer: Any) -> None:
    """In the first step, and not in the constructor: a user's own `run_step` may apply nothing."""
    if getattr(trainer, "_has_marked", False):
        return
    trainer._has_marked = True
    mark_applied(trainer.model, *trainer.applies)
    mark_applied(trainer.data_loader, *trainer.applies)


def _without_exchange(model: Any) -> contextlib.AbstractContextManager[None]:
    return model.no_sync() if isinstance(model, DistributedDataParallel) else contextlib.nullcontext()
