"""Learning to reweight (L2RW): the weight of a row is how much a step along its gradient lowers the meta loss.

Ren et al., "Learning to Reweight Examples for Robust Deep Learning", ICML 2018, https://arxiv.org/abs/1803.09050.
Checked against https://github.com/uber-research/learning-to-reweight-examples.
"""

from __future__ import annotations

from torch import Tensor

from lt_det.meta.closed_form import Bilevel, row_weight_gradient
from lt_det.meta.method import MetaMethod, TrainingRows, normalize


class L2RW(MetaMethod):
    """L = Σ_i w_i ℓ_i, w_i = u_i / Σ_j u_j with u_i = max(0, −∂M/∂ε_i) at ε = 0, so that Ŵ = W.

    Nothing is learned from step to step. The learning rate of the inner step has no effect, for it scales all u. If no
    row lowers the meta loss, all weights are 0.
    """

    def logit_gradients(self, rows: TrainingRows, bilevel: Bilevel) -> Tensor:
        d = rows.gradients
        by_weight = row_weight_gradient(bilevel.gradient_at(bilevel.weights), d, divisor=1.0)
        return normalize((-by_weight).clamp(min=0), 1.0).unsqueeze(1) * d
