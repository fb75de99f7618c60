"""Hyper-parameters of a loss, learned while the classifier is trained: tau of logit adjustment, a scale of margins.

Each module has the gradient of its loss by the logits as a formula of the hyper-parameter φ, from which ∂M/∂φ follows
with first derivatives, see `hyperparameter_gradient`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lt_det.errors import LtDetError
from lt_det.losses import LDAMLoss, LogitAdjustmentLoss, registered_name
from lt_det.losses._rows import one_hot
from lt_det.meta.closed_form import Bilevel, hyperparameter_gradient
from lt_det.meta.method import AnyLoss, MetaMethod, TrainingRows


class LearnedHyperparameter(MetaMethod):
    """Learns φ by ∂M/∂φ. Subclasses define `row_gradients`.

    φ stays between 0 and 2, or twice its start if that is above 1. Looking one step ahead is short-sighted: a larger φ
    pays for one step also where it hurts in the long run. Without the limit, tau grew to 3.3 in 3000 steps on the
    synthetic mini_lvis, and with a learning rate of 0.01 to more than 20.

    Args:
        start: φ before the first step.
        learning_rate: of φ, with Adam, so about the size of a step at the beginning.
    """

    def __init__(self, start: float, learning_rate: float) -> None:
        super().__init__()
        self._limit = 2 * max(start, 1.0)
        self.phi = nn.Parameter(torch.tensor(start, dtype=torch.float64))
        self.optimizer: torch.optim.Optimizer = torch.optim.Adam(self.parameters(), lr=learning_rate)

    def row_gradients(self, logits: Tensor, targets: Tensor) -> Tensor:
        """(N, C) d(φ)."""
        raise NotImplementedError

    def logit_gradients(self, rows: TrainingRows, bilevel: Bilevel) -> Tensor:
        with torch.enable_grad():
            A = self.row_gradients(rows.logits, rows.targets) / rows.divisor
        P = bilevel.gradient(A.detach())
        self.phi.grad = hyperparameter_gradient(P, A, self.phi)
        self.optimizer.step()
        with torch.no_grad():
            self.phi.clamp_(0, self._limit)
            return self.row_gradients(rows.logits, rows.targets) / rows.divisor


class LearnedTau(LearnedHyperparameter):
    """tau of `LogitAdjustmentLoss`: d = softmax(z + tau log pi) − t.

    Args:
        loss: its tau is the start.
        learning_rate: of tau.

    Raises:
        LtDetError: another loss.
    """

    log_prior: Tensor

    def __init__(self, loss: AnyLoss, *, learning_rate: float = 0.001) -> None:
        if not isinstance(loss, LogitAdjustmentLoss):
            raise _other_loss("tau", "logit_adjustment", loss)
        super().__init__(loss.tau, learning_rate)
        self.register_buffer("log_prior", loss.log_prior.clone(), persistent=False)

    def row_gradients(self, logits: Tensor, targets: Tensor) -> Tensor:
        shift = (self.phi * self.log_prior).to(logits.dtype)
        return torch.softmax(logits + shift, dim=1) - one_hot(targets, logits)

    def learned(self) -> dict[str, Tensor]:
        return {"tau": self.phi.detach().clone()}


class LearnedMargin(LearnedHyperparameter):
    """A factor m of the margins of `LDAMLoss`: d = s (softmax(s (z − m Δ_y t)) − t).

    Args:
        loss: its margins Δ are multiplied by m, which starts at 1.
        learning_rate: of m.

    Raises:
        LtDetError: another loss, or its hinge form.
    """

    margins: Tensor

    def __init__(self, loss: AnyLoss, *, learning_rate: float = 0.001) -> None:
        if not isinstance(loss, LDAMLoss) or loss.hinge:
            raise _other_loss("margin", "ldam without HINGE", loss)
        super().__init__(1.0, learning_rate)
        self.scale = loss.scale
        self.register_buffer("margins", loss.margins.clone(), persistent=False)

    def row_gradients(self, logits: Tensor, targets: Tensor) -> Tensor:
        t = one_hot(targets, logits)
        margin = (self.phi * self.margins).to(logits.dtype)[targets].unsqueeze(1)
        return self.scale * (torch.softmax(self.scale * (logits - margin * t), dim=1) - t)

    def learned(self) -> dict[str, Tensor]:
        return {"margin": self.phi.detach().clone()}


def _other_loss(name: str, wanted: str, loss: AnyLoss) -> LtDetError:
    return LtDetError(
        f"The meta-learned hyper-parameter {name} belongs to the loss {wanted}, but MODEL.LONG_TAIL.LOSS.NAME is "
        f"{registered_name(loss)}; set it to {wanted.split()[0]}."
    )
