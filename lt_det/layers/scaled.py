"""Linear classifier with a learnable scale per class."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ScaledLinear(nn.Linear):
    """Computes z_k = f_k (w_k . h) + b_k: the classifier of learnable weight scaling (LWS).

    Kang et al. 2020, https://arxiv.org/abs/1910.09217, section 4. f starts at 1, and decoupled training learns f only.
    The paper has no bias. Here f does not scale the bias, as in the detector of the EQLv2 authors
    (https://github.com/tztztztztz/eqlv2); in the paper's code for image classification, it does.

    Args:
        in_features: D, the dimension of h.
        out_features: number of columns, including background.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.scale = nn.Parameter(torch.ones(out_features))

    def forward(self, features: Tensor) -> Tensor:
        """Convert (N, D) features to (N, out_features) logits."""
        return F.linear(features, self.scale[:, None] * self.weight, self.bias)
