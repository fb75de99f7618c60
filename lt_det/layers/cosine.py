"""Cosine classifier."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class CosineClassifier(nn.Module):
    """Computes z_k = s cos(h, w_k) + b_k. The norm of w_k, which grows with the frequency of a class, has no effect.

    Args:
        in_features: D, the dimension of h.
        out_features: number of columns, including background.
        scale: s, the inverse temperature. Detectors use 20 (Seesaw loss, https://arxiv.org/abs/2008.10032). A box head
            uses MODEL.LONG_TAIL.COSINE_SCALE if it is set.
        bias: whether there is a b, initially 0.
    """

    def __init__(self, in_features: int, out_features: int, scale: float = 20.0, bias: bool = True) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        self.scale = scale
        self.weight = nn.Parameter(torch.empty(out_features, in_features))
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None
        nn.init.normal_(self.weight, std=0.01)

    def forward(self, features: Tensor) -> Tensor:
        """Convert (N, D) features to (N, out_features) logits.

        The logits are float32, or float64 for float64 features. A zero feature has cosine 0 with every class.
        """
        # In float32, also under autocast: half precision cannot distinguish nearly parallel vectors.
        with torch.autocast(features.device.type, enabled=False):
            features = features.to(torch.promote_types(features.dtype, torch.float32))
            weight = self.weight.to(features.dtype)
            cosine = F.linear(F.normalize(features, dim=1), F.normalize(weight, dim=1))
            logits = self.scale * cosine
            return logits if self.bias is None else logits + self.bias

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, scale={self.scale}"
