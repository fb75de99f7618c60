"""Label smoothing.

Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", section 7, https://arxiv.org/abs/1512.00567.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lt_det.errors import LtDetError
from lt_det.losses._fused.affine_softmax import affine_cross_entropy
from lt_det.losses.base import ClassificationLoss
from lt_det.losses.class_weights import Counts, with_background
from lt_det.losses.registry import register_loss
from lt_det.losses.softmax import SoftmaxLoss
from lt_det.statistics.class_stats import ClassStats


def _read_prior(file: str) -> list[float]:
    try:
        prior = json.loads(Path(file).read_text())
    except (OSError, ValueError) as error:
        raise LtDetError(
            f"LABEL_SMOOTHING.PRIOR is '{file}', which is no json file to read ({error}); write uniform, frequency, or "
            "the name of a file with one probability per class, background last."
        ) from None
    if not isinstance(prior, list) or not all(isinstance(value, int | float) for value in prior):
        raise LtDetError(f"LABEL_SMOOTHING.PRIOR {file} is no list of numbers; write one probability per class.")
    return prior


@register_loss("label_smoothing")
class LabelSmoothing(SoftmaxLoss):
    """L = (1/N) sum_i -sum_k q_ik log softmax(z_i)_k over K+1 columns, background being a class like any other.

    Args:
        num_classes: K.
        instance_counts: K training instances per class; only for prior "frequency".
        smoothing: epsilon.
        prior: u is "uniform", or follows the "frequency" of the foreground classes, where background keeps 1 / (K+1),
            or is given as K+1 probabilities, background last, or as the name of a json file with them.
        smooth_background: False gives background RoIs hard targets. Smoothed, each foreground class receives
            epsilon / (K+1) on every background RoI: a floor under the scores, above LVIS's threshold for small K.

    Raises:
        LtDetError: epsilon outside [0, 1), an unknown prior, or no distribution.
    """

    statistics = ("instance_counts",)
    prior: Tensor

    def __init__(
        self,
        num_classes: int,
        *,
        instance_counts: Counts | None = None,
        smoothing: float = 0.1,
        prior: str | Sequence[float] = "uniform",
        smooth_background: bool = True,
    ) -> None:
        super().__init__(num_classes)
        if not 0 <= smoothing < 1:
            raise LtDetError(f"LABEL_SMOOTHING.SMOOTHING must lie in [0, 1), but is {smoothing}; 0.1 is usual.")
        if isinstance(prior, str) and prior not in ("uniform", "frequency"):
            prior = _read_prior(prior)
        self.smoothing = smoothing
        self.smooth_background = smooth_background
        distribution = torch.full((num_classes + 1,), 1.0 / (num_classes + 1), dtype=torch.float64)
        if not isinstance(prior, str):
            distribution = torch.as_tensor(prior, dtype=torch.float64)
            fits = distribution.shape == (num_classes + 1,) and bool((distribution >= 0).all())
            if not fits or abs(float(distribution.sum()) - 1) > 1e-6:
                raise LtDetError(
                    f"LABEL_SMOOTHING.PRIOR needs {num_classes + 1} probabilities that add up to 1, one per class, "
                    f"background last, but got {len(distribution)} that add up to {float(distribution.sum()):g}."
                )
        elif prior == "frequency":
            counts = self.class_counts(instance_counts)
            share = num_classes / (num_classes + 1)
            distribution = with_background(share * counts / counts.sum(), 1.0 / (num_classes + 1))
        self.register_buffer("prior", distribution, persistent=False)

    @classmethod
    def from_stats(cls, stats: ClassStats, **hyperparameters: Any) -> ClassificationLoss:
        if hyperparameters.get("prior") == "frequency":
            return super().from_stats(stats, **hyperparameters)
        return cls(stats.num_classes, **hyperparameters)  # Detectron2's LVIS metadata has no instance counts

    def forward(self, logits: Tensor, gt_classes: Tensor, features: Tensor | None = None) -> Tensor:
        logits = self.checked_logits(logits)
        smoothing = torch.full_like(gt_classes, self.smoothing, dtype=logits.dtype)
        if not self.smooth_background:
            smoothing = smoothing * (gt_classes < self.num_classes)
        prior = self.prior.to(logits.dtype)
        rows = affine_cross_entropy(logits, gt_classes, smoothing=smoothing, prior=prior)
        return self.mean_of_rows(rows, gt_classes)
