"""What meta-learning methods have in common: what they are given in each step, and what they return."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor, nn

from lt_det.errors import LtDetError
from lt_det.losses import ClassBalancedLoss, ClassificationLoss, ClassReweighting, SeesawLoss, registered_name
from lt_det.losses._all_reduce import sum_over_processes
from lt_det.losses._rows import Reduction
from lt_det.losses.sigmoid import SigmoidFamily, sigmoid_cross_entropy_loss
from lt_det.losses.softmax import SoftmaxFamily, softmax_cross_entropy_loss
from lt_det.meta.closed_form import Bilevel, row_losses_and_gradients

AnyLoss = ClassificationLoss | ClassReweighting


@dataclass(frozen=True, eq=False)
class TrainingRows:
    """The training RoIs of one step.

    Attributes:
        loss: the loss that trains the classifier; its state counts the RoIs once.
        logits: (N, C) z, without graph.
        targets: (N,), K for background.
        features: (N, D).
    """

    loss: AnyLoss
    logits: Tensor
    targets: Tensor
    features: Tensor

    @cached_property
    def _losses_and_gradients(self) -> tuple[Tensor, Tensor]:
        return row_losses_and_gradients(self.loss, self.logits, self.targets, self.features)

    @property
    def losses(self) -> Tensor:
        """(N,) ℓ_i, without graph."""
        return self._losses_and_gradients[0]

    @property
    def gradients(self) -> Tensor:
        """(N, C) d_i = ∂ℓ_i/∂z_i."""
        return self._losses_and_gradients[1]

    @cached_property
    def divisor(self) -> float:
        """N of all processes: the number of RoIs, unless the loss has a divisor of its own."""
        divisor = torch.as_tensor(self.loss.divisor(self.targets), dtype=torch.float64)
        return float(sum_over_processes(divisor.to(self.targets.device)))


class MetaMethod(nn.Module):
    """Learns θ, on which the training loss depends, from the meta loss: one step of θ per step of the classifier.

    The parameters of the module are θ.

    Attributes:
        uses_momentum: whether the inner step has the momentum and the weight decay of the classifier's optimizer. If
            not, it is a plain step of gradient descent.
        optimizer: of θ; None where nothing is learned from step to step.
    """

    uses_momentum: ClassVar[bool] = False
    optimizer: torch.optim.Optimizer | None = None

    def logit_gradients(self, rows: TrainingRows, bilevel: Bilevel) -> Tensor:
        """Take a step of θ, and return (N, C) A, the gradient of the training loss by the logits at the new θ."""
        raise NotImplementedError

    def learned(self) -> dict[str, Tensor]:
        """What was learned so far, for the log: scalars, or (K,) values of the classes, by name."""
        return {}


def normalize(v: Tensor, total: float) -> Tensor:
    """ṽ_i = T v_i / Σ_j v_j over the rows of all processes; zeros stay zeros.

    Args:
        v: (N,), at least 0.
        total: T, the sum of ṽ.
    """
    S = sum_over_processes(v.sum())
    return total * v / torch.where(S > 0, S, 1.0)


def normalization_gradient(by_normalized: Tensor, v: Tensor, total: float) -> Tensor:
    """(N,) ∂M/∂v_i = (T g_i − Σ_j ṽ_j g_j) / Σ_j v_j, from g = ∂M/∂ṽ; see `normalize`."""
    S = sum_over_processes(v.sum())
    mean = sum_over_processes((normalize(v, total) * by_normalized).sum())
    return (total * by_normalized - mean) / torch.where(S > 0, S, 1.0)


class MetaLoss:
    """The loss without weights, margins and shifts: the right one where classes are balanced, as in the meta set.

    It is sigmoid cross-entropy for the losses of the sigmoid family, and softmax cross-entropy for the others; Seesaw
    keeps its two columns of objectness.

    Args:
        loss: the loss that trains the classifier.

    Raises:
        LtDetError: the loss belongs to neither family, and is not Seesaw.
    """

    def __init__(self, loss: AnyLoss) -> None:
        plain: nn.Module = loss.loss if isinstance(loss, ClassReweighting) else loss
        if isinstance(plain, ClassBalancedLoss):
            plain = plain.parent
        if isinstance(plain, SeesawLoss):
            plain = SeesawLoss(plain.num_classes, background=plain.background, p=0, q=0).eval()
        if not isinstance(plain, SoftmaxFamily | SigmoidFamily | SeesawLoss):
            raise LtDetError(
                "Meta-learning needs a loss of the softmax or the sigmoid family, but MODEL.LONG_TAIL.LOSS.NAME is "
                f"{registered_name(loss)}; softmax and logit_adjustment are usual."
            )
        self.loss = plain

    def __call__(
        self, logits: Tensor, targets: Tensor, features: Tensor | None = None, reduction: Reduction = "mean"
    ) -> Tensor:
        """The loss of (M, C) logits and (M,) targets, see `ClassificationLoss.forward`."""
        if isinstance(self.loss, SigmoidFamily):
            return sigmoid_cross_entropy_loss(self.loss.class_logits(logits), targets, reduction=reduction)
        if isinstance(self.loss, SoftmaxFamily):
            return softmax_cross_entropy_loss(self.loss.score_scale * logits, targets, reduction=reduction)
        rows: Tensor = self.loss(logits, targets, features, reduction)
        return rows
