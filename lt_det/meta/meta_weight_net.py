"""Meta-Weight-Net: a small network from the loss of a row to its weight.

Shu et al., "Meta-Weight-Net: Learning an Explicit Mapping For Sample Weighting", NeurIPS 2019,
https://arxiv.org/abs/1902.07379. Checked against https://github.com/xjtushujun/Meta-weight-net_class-imbalance.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lt_det.losses._all_reduce import sum_over_processes
from lt_det.meta.closed_form import Bilevel, row_weight_gradient
from lt_det.meta.method import MetaMethod, TrainingRows, normalization_gradient, normalize


class MetaWeightNet(MetaMethod):
    """L = Σ_i v_i ℓ_i / Σ_i v_i with v_i = V(ℓ_i; θ), a network 1 → hidden → 1 with ReLU and sigmoid.

    V gets ℓ_i as a constant, as in the paper's eq. 5. Before the first step of θ all weights are nearly equal.

    Args:
        hidden: width of V; the authors' 100.
        learning_rate: of θ, with Adam. The authors use Adam with 1e-3 for noisy labels, and SGD with 1e-5, which needs
            longer trainings, for imbalanced classes.
    """

    def __init__(self, *, hidden: int = 100, learning_rate: float = 1e-3) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(1, hidden), nn.ReLU(), nn.Linear(hidden, 1), nn.Sigmoid())
        self.optimizer: torch.optim.Optimizer = torch.optim.Adam(self.parameters(), lr=learning_rate)

    def forward(self, losses: Tensor) -> Tensor:
        """(N,) weights v for (N,) losses."""
        v: Tensor = self.net(losses.unsqueeze(1))
        return v.squeeze(1)

    def logit_gradients(self, rows: TrainingRows, bilevel: Bilevel) -> Tensor:
        d = rows.gradients
        with torch.enable_grad():
            v = self(rows.losses)
        weight = normalize(v.detach(), 1.0)
        by_weight = row_weight_gradient(bilevel.gradient(weight.unsqueeze(1) * d), d, divisor=1.0)
        by_v = normalization_gradient(by_weight, v.detach(), 1.0)
        parameters = list(self.parameters())
        for theta, gradient in zip(parameters, torch.autograd.grad(v, parameters, grad_outputs=by_v), strict=True):
            theta.grad = sum_over_processes(gradient)
        self.optimizer.step()
        with torch.no_grad():
            return normalize(self(rows.losses), 1.0).unsqueeze(1) * d
