"""Deferred re-weighting (DRW): class-balanced weights, switched on late in training.

Cao et al. 2019, section 3.3, https://arxiv.org/abs/1906.07413. Weights that hold from the beginning hurt the features;
switched on at the first learning-rate step they balance the classifier.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lt_det.errors import LtDetError
from lt_det.losses.class_weights import Counts, MeanOver, checked_counts, effective_number_weights, with_background


class DeferredReweighting(nn.Module):
    """Row i weighs w_{y_i} from `start` on; w from `effective_number_weights`, w_background = 1.

    The loss that holds it looks at the time.

    Args:
        instance_counts: K training instances per class.
        start: share of the training, 0 to 1; the authors' 160 of 200 epochs are 0.8.
        beta, mean_over: see `effective_number_weights`.

    Raises:
        LtDetError: a start outside [0, 1], beta outside [0, 1).
    """

    class_weight: Tensor

    def __init__(
        self, instance_counts: Counts, *, start: float, beta: float = 0.9999, mean_over: MeanOver = "classes"
    ) -> None:
        super().__init__()
        if not 0 <= start <= 1:
            raise LtDetError(f"REWEIGHTING.START lies outside the training: {start} of it is no share of 0 to 1.")
        counts = torch.as_tensor(instance_counts, dtype=torch.float64)
        counts = checked_counts(counts, len(counts), "REWEIGHTING")
        self.start = start
        weight = with_background(effective_number_weights(counts, beta, mean_over, "REWEIGHTING"), 1.0)
        self.register_buffer("class_weight", weight, persistent=False)

    def forward(self, rows: Tensor, gt_classes: Tensor) -> Tensor:
        """(N,) losses and labels to (N,) weighed losses; for the time from `start` on."""
        return rows * self.class_weight.to(rows.dtype)[gt_classes]
