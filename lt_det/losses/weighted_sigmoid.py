"""Sigmoid cross-entropy with weights, in one pass and with its gradient written out.

The plain form, `F.binary_cross_entropy_with_logits(z, one_hot, weight)`, holds targets, weights, terms and their
gradients, each as large as the logits. Here the gradient is made in the forward pass and nothing else is kept.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


class _WeightedSigmoid(torch.autograd.Function):
    """sum_ik w_ik BCE(z_ik, t_ik); the derivative is w (sigmoid(z) - t)."""

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        gt_classes: Tensor,
        foreground: Tensor | None,
        background: Tensor | None,
    ) -> Tensor:
        num_classes = logits.shape[1] - 1
        is_foreground = gt_classes < num_classes
        rows = is_foreground.nonzero().squeeze(1)
        labels = gt_classes[rows]
        z = logits[:, :num_classes]
        own = z[rows, labels]

        # Every term as a negative, weighed by its row's kind; then the targets are put right.
        terms = F.softplus(z)
        per_row = _weighed_sum(terms, is_foreground, foreground, background)
        own_weight = own.new_ones(len(rows)) if foreground is None else foreground[labels]
        total = per_row.sum() - (own_weight * F.softplus(own)).sum() + F.softplus(-own).sum()
        del terms

        gradient = torch.empty_like(logits)
        inner = gradient[:, :num_classes]
        torch.sigmoid(z, out=inner) if inner.is_contiguous() else inner.copy_(z).sigmoid_()
        if background is not None:
            inner.mul_(background) if foreground is background else _scale_rows(inner, ~is_foreground, background)
        if foreground is not None and foreground is not background:
            _scale_rows(inner, is_foreground, foreground)
        inner[rows, labels] = torch.sigmoid(own) - 1
        gradient[:, num_classes] = 0
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * grad_output, None, None, None


def _weighed_sum(terms: Tensor, is_foreground: Tensor, foreground: Tensor | None, background: Tensor | None) -> Tensor:
    """(N,) sums over the classes, each row with the column weights of its kind."""
    plain = terms.new_ones(terms.shape[1])
    columns = torch.stack([plain if w is None else w for w in (foreground, background)], dim=1)
    both = terms @ columns
    return torch.where(is_foreground, both[:, 0], both[:, 1])


def _scale_rows(matrix: Tensor, chosen: Tensor, columns: Tensor) -> None:
    """Multiply the chosen rows by column weights, in place."""
    rows = chosen.nonzero().squeeze(1)
    matrix[rows] = matrix[rows] * columns


def weighted_sigmoid_cross_entropy(
    logits: Tensor,
    gt_classes: Tensor,
    *,
    foreground: Tensor | None = None,
    background: Tensor | None = None,
) -> Tensor:
    """sum_i [ BCE(z_iy, 1) + sum_{k != y} w_k BCE(z_ik, 0) ] over the K foreground classes.

    Args:
        logits: (N, K+1) float32 or float64; the last column takes no part and has gradient 0.
        gt_classes: (N,), K for background, whose rows are all negative.
        foreground, background: (K,) weights of the negative terms on foreground and on background rows; None: 1.

    Returns:
        scalar.
    """
    loss: Tensor = _WeightedSigmoid.apply(logits, gt_classes, foreground, background)
    return loss
