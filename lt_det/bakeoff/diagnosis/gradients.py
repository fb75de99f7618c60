"""Positive and negative gradients of each class's weights, as in the figures of the equalization losses.

Tan et al. 2020, figure 1, https://arxiv.org/abs/2003.05176, plots the average L2 norm of these gradients in the last
layer. An average over samples and an average over iterations differ, and both are computed; see `Gradients`. The
gradient ratio is that of Tan et al. 2021, eq. 6 to 9, https://arxiv.org/abs/2012.08548.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from lt_det.bakeoff.diagnosis.last_layer import Batch, LastLayer, bincount, numbers
from lt_det.evaluation.diagnosis_schema import Gradients


class GradientNorms:
    """Accumulates the gradients of one iteration after another.

    Args:
        layer: the last layer.
    """

    def __init__(self, layer: LastLayer) -> None:
        K = layer.num_classes
        self.layer = layer
        self.iterations = 0
        self.rois = 0.0
        zeros = torch.zeros(K, dtype=torch.float64, device=layer.device)
        self.positive_rois = zeros.clone()
        self.mean = [zeros.clone(), zeros.clone()]  # first reading, positive and negative: sums over RoIs
        self.norm = [zeros.clone(), zeros.clone()]  # second reading: sums over iterations
        self.logit = [zeros.clone(), zeros.clone()]  # EQLv2's: sums of |dL_i / dz_c|

    def add_iteration(self, batches: Iterable[Batch]) -> None:
        """Add the batches that together are one iteration of a training."""
        sums: list[Tensor | float] = [0.0, 0.0]
        labels, weights = [], []
        for batch in batches:
            labels.append(batch.labels)
            weights.append(batch.weights)
            for sign, gradient in enumerate(self._add_rows(batch)):
                sums[sign] = sums[sign] + gradient
        divisor = self.layer.divisor(torch.cat(labels), torch.cat(weights))
        for sign, total in enumerate(sums):
            assert isinstance(total, Tensor)
            self.norm[sign] += total.norm(dim=1)[: self.layer.num_classes].double() / divisor
        self.iterations += 1

    def _add_rows(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Add what is summed over RoIs, and return sum_i dL_i / dw_c: (C, D) positive and (C, D) negative."""
        layer, K, rows = self.layer, self.layer.num_classes, batch.foreground
        y = batch.labels[rows]
        self.rois += float(batch.weights.sum())
        self.positive_rois += bincount(batch.labels, batch.weights, K)
        inputs = layer.inputs(batch.features)
        per_row = layer.weight_gradient_norms(inputs, batch.logits)

        weighted = batch.gradient * batch.weights.unsqueeze(1)
        own = weighted[rows].gather(1, y.unsqueeze(1))
        negative = weighted.index_put((rows, y), weighted.new_zeros(()))
        own_norm = per_row.expand_as(weighted)[rows, y]
        self.mean[0] += bincount(y, own.squeeze(1).abs() * own_norm, K)
        self.mean[1] += (negative.abs() * per_row).sum(dim=0, dtype=torch.float64)[:K]
        self.logit[0] += bincount(y, own.squeeze(1).abs(), K)
        self.logit[1] += negative.abs().sum(dim=0, dtype=torch.float64)[:K]

        positive = torch.zeros_like(weighted[rows]).scatter(1, y.unsqueeze(1), own)
        return (
            layer.weight_gradients(positive, inputs[rows], batch.logits[rows]),
            layer.weight_gradients(negative, inputs, batch.logits),
        )

    def result(self, images_per_iteration: int) -> Gradients:
        seen = self.positive_rois > 0
        others = self.rois - self.positive_rois
        positive = torch.where(seen, self.mean[0] / self.positive_rois, torch.nan)
        negative = torch.where(others > 0, self.mean[1] / others, torch.nan)
        iterations = max(self.iterations, 1)
        return Gradients(
            positive_mean=numbers(positive),
            negative_mean=numbers(negative),
            positive_norm=numbers(torch.where(seen, self.norm[0] / iterations, torch.nan)),
            negative_norm=numbers(self.norm[1] / iterations),
            ratio=numbers(torch.where(seen, self.logit[0] / (self.logit[1] + 1e-10), torch.nan)),
            iterations=self.iterations,
            images_per_iteration=images_per_iteration,
        )
