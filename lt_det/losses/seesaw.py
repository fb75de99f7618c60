"""Seesaw loss.

Wang et al., "Seesaw Loss for Long-Tailed Instance Segmentation", CVPR 2021, https://arxiv.org/abs/2008.10032.
Checked against mmdetection 3.3.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lt_det.errors import LtDetError
from lt_det.losses._all_reduce import sum_over_processes
from lt_det.losses.base import ClassificationLoss, at_least_float32, divide_by_rois
from lt_det.losses.registry import register_loss


@register_loss("seesaw")
class Seesaw(ClassificationLoss):
    """Class loss over K columns on foreground RoIs, and objectness over two more: [foreground, background].

    The class loss is CE with z_k + log S_yk for k != y, S_yk = M_yk C_ik: the mitigation factor
    M_yk = min(1, (n_k / n_y)^p) spares classes seen less often so far, the compensation factor
    C_ik = max(1, (sigma_k / sigma_y)^q) punishes those that score above the label (eq. 4 to 6). A score is
    softmax_K(z) P(foreground).

    Counts n are of RoI labels so far, this batch included; an int64 buffer: saved, resumed, summed over processes.

    Args:
        num_classes: K.
        p, q: exponents; 0 and 0 is plain cross-entropy with objectness.
        epsilon: floor of sigma_y.

    Raises:
        LtDetError: p or q below 0, epsilon of 0 or below.
    """

    default_classifier = "cosine"
    seen: Tensor

    def __init__(self, num_classes: int, *, p: float = 0.8, q: float = 2.0, epsilon: float = 0.01) -> None:
        super().__init__(num_classes)
        if p < 0 or q < 0 or epsilon <= 0:
            raise LtDetError(
                f"SEESAW needs P and Q of at least 0 and EPSILON above 0, but they are {p}, {q}, {epsilon}."
            )
        self.p, self.q, self.epsilon = p, q, epsilon
        self.register_buffer("seen", torch.zeros(num_classes, dtype=torch.int64))

    @property
    def num_logits(self) -> int:
        return self.num_classes + 2

    def state_by_class(self) -> dict[str, Tensor]:
        return {"seen": self.seen}

    def forward(self, logits: Tensor, gt_classes: Tensor, features: Tensor | None = None) -> Tensor:
        logits = self.checked_logits(logits)
        foreground = gt_classes < self.num_classes
        labels = gt_classes[foreground]
        if self.training:
            self.seen += sum_over_processes(torch.bincount(labels, minlength=self.num_classes))
        class_logits = logits[foreground][:, : self.num_classes]
        class_loss = F.cross_entropy(self._adjusted(class_logits, labels), labels, reduction="sum")
        objectness = F.cross_entropy(logits[:, self.num_classes :], (~foreground).long(), reduction="sum")
        return divide_by_rois(class_loss + objectness, len(gt_classes))

    def _adjusted(self, logits: Tensor, labels: Tensor) -> Tensor:
        """(n, K) z + log S, S_y = 1."""
        log_seen = self.seen.clamp(min=1).to(logits.dtype).log()
        mitigation = self.p * (log_seen.unsqueeze(0) - log_seen[labels].unsqueeze(1)).clamp(max=0)
        log_scores = logits.detach().log_softmax(dim=1)
        own = log_scores.gather(1, labels.unsqueeze(1)).clamp(min=math.log(self.epsilon))
        compensation = self.q * (log_scores - own).clamp(min=0)
        others = 1 - F.one_hot(labels, self.num_classes).to(logits.dtype)
        return logits + (mitigation + compensation) * others

    def scores(self, logits: Tensor) -> Tensor:
        logits = at_least_float32(logits)
        classes = logits[:, : self.num_classes].softmax(dim=1)
        objectness = logits[:, self.num_classes :].softmax(dim=1)
        return torch.cat([classes * objectness[:, :1], objectness[:, 1:]], dim=1)
