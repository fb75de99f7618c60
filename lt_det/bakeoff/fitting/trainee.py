"""One candidate with one learning rate, while it is trained."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from lt_det.bakeoff.fitting.batch import Batch
from lt_det.bakeoff.fitting.classifier import SGD, ClassifierStep
from lt_det.bakeoff.fitting.held_out import HeldOut
from lt_det.bakeoff.fitting.schedule import Schedule
from lt_det.layers import build_classifier
from lt_det.losses import ClassificationLoss, ClassReweighting
from lt_det.modeling.loss_builder import loss_of_config


class Stage:
    """The classifier and the loss of one stage.

    Args:
        cfg: the candidate's config.
        number: of the stage, from 0.
        width: D.
        device: where to train.
    """

    def __init__(self, cfg: Any, number: int, width: int, device: torch.device | str) -> None:
        node = cfg.MODEL.LONG_TAIL
        self.loss: ClassificationLoss | ClassReweighting = loss_of_config(cfg)
        self.classifier = build_classifier(width, self.loss, node.CLASSIFIER, node.COSINE_SCALE)
        self.loss.to(device).train()
        self.classifier.to(device)
        self._step = ClassifierStep(self.classifier, SGD.from_config(cfg))
        self._parameters = [parameter for parameter in self.loss.parameters() if parameter.requires_grad]
        momentum, decay = cfg.SOLVER.MOMENTUM, cfg.SOLVER.WEIGHT_DECAY
        self._optimizer = (
            torch.optim.SGD(self._parameters, lr=1.0, momentum=momentum, weight_decay=decay)
            if self._parameters
            else None
        )

    def step(self, batch: Batch, rate: float, progress: float) -> Tensor:
        """Train on a batch, and return its loss."""
        self.loss.progress = progress
        logits = self._step.logits(batch)
        value: Tensor = self.loss(logits, batch.labels, batch.features)
        gradient, *others = torch.autograd.grad(value, [logits, *self._parameters], allow_unused=True)
        self._step.update(gradient, batch, rate)
        if self._optimizer is not None:  # a loss of the user's own may learn something
            for parameter, other in zip(self._parameters, others, strict=True):
                parameter.grad = other
            self._optimizer.param_groups[0]["lr"] = rate
            self._optimizer.step()
        return value.detach()

    @torch.no_grad()
    def average_precision(self, held_out: HeldOut) -> float:
        """The held-out measure."""
        return held_out.average_precision(self.loss.scores(self.classifier(held_out.features)))

    def classifier_state(self) -> dict[str, Tensor]:
        return {name: tensor.detach().cpu().clone() for name, tensor in self.classifier.state_dict().items()}

    def loss_state(self) -> dict[str, Tensor]:
        return {name: tensor.detach().cpu().clone() for name, tensor in self.loss.state_dict().items()}


MakeStage = Callable[[Any, int, int, "torch.device | str"], Stage]


class Trainee:
    """The stages of a candidate, trained with one learning rate.

    Args:
        cfg: the candidate's config.
        widths: D of each stage.
        rate: learning rate.
        seed: of the initial weights.
        schedule: where it stands.
        device: where to train.
        make_stage: see `fit_learning_rates`.

    Attributes:
        curve: see `Fitted`.
        diverged: whether loss or weights are no longer finite.
    """

    def __init__(
        self,
        cfg: Any,
        widths: Sequence[int],
        rate: float,
        *,
        seed: int,
        schedule: Schedule,
        device: torch.device | str,
        make_stage: MakeStage = Stage,
    ) -> None:
        torch.manual_seed(seed)
        self.stages = [make_stage(cfg, number, width, device) for number, width in enumerate(widths)]
        self.rate, self.schedule = rate, schedule
        starts = [getattr(module, "start", 0.0) for stage in self.stages for module in stage.loss.modules()]
        schedule.earliest_end = max(start for start in starts if isinstance(start, int | float))
        self.curve: list[tuple[int, float, float | None]] = []
        self.diverged = False
        self._losses: list[Tensor] = []

    @property
    def done(self) -> bool:
        return self.diverged or self.schedule.done

    def step(self, batches: Sequence[Batch]) -> None:
        """Train each stage on its batch."""
        rate, progress = self.rate * self.schedule.factor, self.schedule.progress
        losses = [stage.step(batch, rate, progress) for stage, batch in zip(self.stages, batches, strict=True)]
        self._losses.append(torch.stack(losses).mean())
        self.schedule.advance()

    def record(self, held_out: Sequence[HeldOut] | None) -> None:
        """Add a point to the curve; on a plateau of the held-out measure the phase ends."""
        loss = float(torch.stack(self._losses).mean())
        self._losses.clear()
        if not math.isfinite(loss):
            self.diverged = True
            return
        measure = None
        if held_out is not None:
            parts = [stage.average_precision(table) for stage, table in zip(self.stages, held_out, strict=True)]
            measure = sum(parts) / len(parts)
            self.schedule.report(measure)
        self.curve.append((self.schedule.step, loss, measure))
