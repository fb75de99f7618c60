"""Sigmoid cross-entropy with weights and focusing, its gradient written out.

The plain form, `F.binary_cross_entropy_with_logits(z, one_hot, weight)`, holds targets, weights, terms and their
gradients, each as large as the logits. Here the gradient is made in the forward pass, a block of rows at a time, and
nothing else is kept.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# Rows per block: on the CPU their temporaries stay in the cache; on a GPU larger blocks keep it busy.
_BLOCK = {"cpu": 256}
_LARGE_BLOCK = 4096


class _WeightedSigmoid(torch.autograd.Function):
    """See `weighted_sigmoid_cross_entropy`. Per element, with p = sigmoid(z) and m the focusing factor:

    negative: m = p^gamma, term m softplus(z), derivative m (p + gamma (1 - p) softplus(z));
    positive: m = (1 - p)^gamma, term m softplus(-z), derivative -m ((1 - p) + gamma p softplus(-z)).
    """

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        gt_classes: Tensor,
        columns: int,
        foreground: Tensor | None,
        background: Tensor | None,
        positive: Tensor | None,
        rows: Tensor | None,
        gamma: float,
    ) -> tuple[Tensor, Tensor]:
        gradient = torch.empty_like(logits, memory_format=torch.contiguous_format)
        gradient[:, columns:] = 0
        total = logits.new_zeros(())
        size = _BLOCK.get(logits.device.type, _LARGE_BLOCK)
        for start in range(0, len(logits), size):
            block = slice(start, start + size)
            z, out, labels = logits[block, :columns], gradient[block, :columns], gt_classes[block]
            weight = None if rows is None else rows[block]
            total += _negatives(z, out, labels < columns, foreground, background, weight, gamma)
            total += _positives(z, out, labels, columns, foreground, positive, weight, gamma)
        ctx.save_for_backward(gradient)
        ctx.set_materialize_grads(False)  # zeros for the second output would be as large as the logits
        ctx.mark_non_differentiable(gradient)
        return total, gradient

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_output: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        if grad_output is None:
            return (None,) * 8
        return gradient * grad_output, None, None, None, None, None, None, None


def _negatives(
    z: Tensor,
    out: Tensor,
    is_foreground: Tensor,
    foreground: Tensor | None,
    background: Tensor | None,
    rows: Tensor | None,
    gamma: float,
) -> Tensor:
    """Every element as a negative: write derivatives to `out`, return the weighed sum."""
    p = torch.sigmoid(z)
    # softplus(z) = max(z, 0) - log(1 - min(p, 1 - p)), as exact and a quarter faster once p is there
    terms = z.clamp(min=0).sub_(torch.minimum(p, 1 - p).neg_().log1p_())
    factor = _column_weights(z, is_foreground, foreground, background)
    if rows is not None:
        factor = rows.unsqueeze(1) if factor is None else factor * rows.unsqueeze(1)
    if gamma:
        focus = p * p if gamma == 2 else p**gamma
        factor = focus if factor is None else focus.mul_(factor)
        # p + gamma (1 - p) softplus, without a matrix for 1 - p
        p = p.addcmul_(p, terms, value=-gamma).add_(terms, alpha=gamma)
    if factor is None:
        out.copy_(p)
    else:
        torch.mul(p, factor, out=out)
        terms = terms.mul_(factor)
    return terms.sum(dim=1).sum()


def _positives(
    z: Tensor,
    out: Tensor,
    labels: Tensor,
    columns: int,
    foreground: Tensor | None,
    positive: Tensor | None,
    rows: Tensor | None,
    gamma: float,
) -> Tensor:
    """Put the targets right: replace their derivative in `out`, return what their term changes in the sum."""
    index = (labels < columns).nonzero().squeeze(1)
    labels = labels[index]
    own = z[index, labels]
    p = torch.sigmoid(own)
    q = torch.sigmoid(-own)
    as_negative = F.softplus(own) * (p**gamma if gamma else 1.0)
    if foreground is not None:
        as_negative = as_negative * foreground[labels]
    as_positive, slope = F.softplus(-own), -q
    if gamma:
        slope = slope - gamma * p * as_positive
        as_positive, slope = as_positive * q**gamma, slope * q**gamma
    if positive is not None:
        as_positive, slope = as_positive * positive[labels], slope * positive[labels]
    change = as_positive - as_negative
    if rows is not None:
        change, slope = change * rows[index], slope * rows[index]
    out[index, labels] = slope
    return change.sum()


def _column_weights(
    z: Tensor, is_foreground: Tensor, foreground: Tensor | None, background: Tensor | None
) -> Tensor | None:
    """Weights of the negative terms that broadcast to `z`, or None for all 1."""
    if foreground is None and background is None:
        return None
    if foreground is background:
        return foreground
    ones = z.new_ones(z.shape[1])
    pair = torch.stack([ones if w is None else w for w in (background, foreground)])
    return pair.index_select(0, is_foreground.long())


def weighted_sigmoid_cross_entropy(
    logits: Tensor,
    gt_classes: Tensor,
    *,
    columns: int | None = None,
    foreground: Tensor | None = None,
    background: Tensor | None = None,
    positive: Tensor | None = None,
    rows: Tensor | None = None,
    gamma: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """sum_i r_i [ a_y (1 - p_iy)^gamma BCE(z_iy, 1) + sum_{k != y} w_k p_ik^gamma BCE(z_ik, 0) ], p = sigmoid(z).

    Args:
        logits: (N, C) float32 or float64.
        gt_classes: (N,); a label of `columns` or above has no positive term.
        columns: how many of the C columns take part; the others have gradient 0. None: C - 1, all but background.
        foreground, background: (columns,) weights w of the negative terms, on rows with and without a positive one.
        positive: (columns,) weights a of the positive terms.
        rows: (N,) weights r.
        gamma: focusing; 0 for plain cross-entropy.

    Returns:
        The sum, and its derivative (N, C), which carries no gradient.
    """
    columns = logits.shape[1] - 1 if columns is None else columns
    with torch.autocast(logits.device.type, enabled=False):  # it would do the product with the rows in half precision
        result: tuple[Tensor, Tensor] = _WeightedSigmoid.apply(
            logits, gt_classes, columns, foreground, background, positive, rows, gamma
        )
    return result
