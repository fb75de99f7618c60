"""The meta re-weighter of Balanced Meta-Softmax (BALMS): one weight per class.

Ren et al., "Balanced Meta-Softmax for Long-Tailed Visual Recognition", NeurIPS 2020, https://arxiv.org/abs/2007.10740.
Checked against https://github.com/cunjunyu/BalancedMetaSoftmax-InstanceSeg (projects/BALMS).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lt_det.meta.closed_form import Bilevel, class_weight_gradient, row_weight_gradient, rows_of_all_processes
from lt_det.meta.method import MetaMethod, TrainingRows, normalization_gradient, normalize


class BalmsReweighter(MetaMethod):
    """L = (1/N) Σ_i v_i ℓ_i with v_i = σ(θ_{y_i}), scaled to mean 1 over the foreground RoIs; background has weight 1.

    The authors use it with the balanced sigmoid loss; here it goes with any loss, and with balanced softmax
    (`LogitAdjustmentLoss` with tau 1) it is the paper's method. Their meta loss, meant to be the plain one, has the
    balanced shift in it, because their code shifts the logits in place; here it is plain.

    Args:
        num_classes: K.
        learning_rate: of θ, with Adam; the authors' 0.01.
    """

    uses_momentum = True

    def __init__(self, num_classes: int, *, learning_rate: float = 0.01) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.zeros(num_classes))
        self.optimizer: torch.optim.Optimizer = torch.optim.Adam(self.parameters(), lr=learning_rate)

    def logit_gradients(self, rows: TrainingRows, bilevel: Bilevel) -> Tensor:
        d, K = rows.gradients, len(self.theta)
        foreground = rows.targets < K
        labels = rows.targets[foreground]
        num_foreground = rows_of_all_processes(labels)

        sigmoid = self.theta.detach().sigmoid().to(d.dtype)
        P = bilevel.gradient(self._weighted(sigmoid, rows, foreground, num_foreground))
        by_weight = row_weight_gradient(P[foreground], d[foreground], rows.divisor)
        by_v = normalization_gradient(by_weight, sigmoid[labels], num_foreground)
        by_class = class_weight_gradient(by_v, labels, K)[:K]  # the sum over all processes
        self.theta.grad = (by_class * sigmoid * (1 - sigmoid)).to(self.theta.dtype)
        self.optimizer.step()
        return self._weighted(self.theta.detach().sigmoid().to(d.dtype), rows, foreground, num_foreground)

    def _weighted(self, sigmoid: Tensor, rows: TrainingRows, foreground: Tensor, num_foreground: float) -> Tensor:
        """(N, C) v_i d_i / N."""
        v = torch.ones_like(rows.losses)
        v[foreground] = normalize(sigmoid[rows.targets[foreground]], num_foreground)
        return v.unsqueeze(1) * rows.gradients / rows.divisor

    def learned(self) -> dict[str, Tensor]:
        return {"weight": self.theta.detach().sigmoid()}
