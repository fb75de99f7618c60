"""Softmax cross-entropy of transformed logits, with no more memory than the plain one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _AffineCrossEntropy(torch.autograd.Function):
    """See `affine_cross_entropy`; with s = softmax(u) the derivative by z is a (s - (1 - e) t - e prior).

    s is kept instead of log s, which is as long: the exponential of the backward pass is saved, and it is slow on the
    CPU where it underflows. log s_y = u_y - max u + log max s is as exact as `log_softmax`.
    """

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        gt_classes: Tensor,
        scale: Tensor | float | None,
        shift: Tensor | None,
        target_shift: Tensor | None,
        row_shift: tuple[Tensor, Tensor] | None,
        smoothing: Tensor | None,
        prior: Tensor | None,
    ) -> Tensor:
        u = logits
        if scale is not None:
            u = u * scale
        if shift is not None:
            u = u + shift if u is logits else u.add_(shift)
        index = gt_classes.unsqueeze(1)
        if target_shift is not None:
            u = (u.clone() if u is logits else u).scatter_add_(1, index, target_shift.unsqueeze(1))
        if row_shift is not None:
            u = (u.clone() if u is logits else u).index_add_(0, *row_shift)
        probabilities = u.softmax(dim=1)
        top = u.amax(dim=1)
        log_sum = -probabilities.amax(dim=1).log()  # of e^(u - top)
        rows = top - u.gather(1, index).squeeze(1) + log_sum
        if smoothing is not None and prior is not None:
            rows = (1 - smoothing) * rows + smoothing * (top - u @ prior + log_sum)
        ctx.scale = scale
        ctx.save_for_backward(probabilities, index, smoothing, prior)
        return rows

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_rows: Tensor) -> tuple[Tensor | None, ...]:
        probabilities, index, smoothing, prior = ctx.saved_tensors
        gradient = probabilities * grad_rows.unsqueeze(1)
        target = grad_rows if smoothing is None else grad_rows * (1 - smoothing)
        gradient.scatter_add_(1, index, -target.unsqueeze(1))
        if smoothing is not None:
            gradient.addr_(grad_rows * smoothing, prior, alpha=-1)
        if ctx.scale is not None:
            gradient.mul_(ctx.scale)
        return gradient, None, None, None, None, None, None, None


def affine_cross_entropy(
    logits: Tensor,
    gt_classes: Tensor,
    *,
    scale: Tensor | float | None = None,
    shift: Tensor | None = None,
    target_shift: Tensor | None = None,
    row_shift: tuple[Tensor, Tensor] | None = None,
    smoothing: Tensor | None = None,
    prior: Tensor | None = None,
) -> Tensor:
    """-sum_k q_k log softmax(u)_k with u = a z + b + c t (+ d on some rows) and q = (1 - e) t + e prior, per row.

    Args:
        logits: (N, C) z, float32 or float64.
        gt_classes: (N,); t is its one-hot form.
        scale: (C,) or a number, a.
        shift: (C,) b.
        target_shift: (N,) c, added to the target's logit.
        row_shift: (n,) rows, no row twice, and (n, C) what is added to their logits.
        smoothing, prior: (N,) e and (C,) a distribution; None: hard targets.

    Returns:
        (N,).
    """
    with torch.autocast(logits.device.type, enabled=False):  # it would do the product with the prior in half precision
        rows: Tensor = _AffineCrossEntropy.apply(
            logits, gt_classes, scale, shift, target_shift, row_shift, smoothing, prior
        )
    return rows
