"""Linear classifier with a learnable scale per class."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ScaledLinear(nn.Linear):
    """z = f_k (w_k . h) + b_k, where f starts at 1: the classifier of learnable weight scaling (LWS).

    Kang et al. 2020, https://arxiv.org/abs/1910.09217, section 4: decoupled training then learns f alone. The paper has
    no bias; it is not scaled here, as in the EQLv2 authors' detector (https://github.com/tztztztztz/eqlv2). The
    paper's code for image classification scales it too.

    Args:
        in_features: D.
        out_features: number of classes, background included.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.scale = nn.Parameter(torch.ones(out_features))

    def forward(self, features: Tensor) -> Tensor:
        """(N, D) features to (N, out_features) logits."""
        return F.linear(features, self.scale[:, None] * self.weight, self.bias)
