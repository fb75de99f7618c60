"""A fast path for the sigmoid losses: sigmoid cross-entropy with weights and focusing, and its gradient.

The file of each loss has its formula. This file computes the same numbers; tests compare the two. A formula keeps
one-hot targets, weights, terms and their gradients, each as large as the logits. The fast path computes the gradient in
the forward pass, one block of rows at a time, and keeps nothing else. docs/losses.md has the measurements.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lt_det.errors import LtDetError
from lt_det.losses._rows import is_compiling

# Devices on which a benchmark has shown that the fast path is faster.
_DEVICES = {"cpu"}
_ROWS_PER_BLOCK = 256  # so that the temporaries of a block stay in the cache

_enabled = True


@contextmanager
def plain_formulas() -> Iterator[None]:
    """Context manager: compute every loss by the formula in its file, which can be differentiated twice."""
    global _enabled
    before, _enabled = _enabled, False
    try:
        yield
    finally:
        _enabled = before


def is_faster(logits: Tensor) -> bool:
    """Whether `fused_rows` should replace the formula for these logits."""
    if is_compiling():  # which fuses the formula itself
        return False
    wants_gradient = logits.requires_grad and torch.is_grad_enabled()
    return _enabled and wants_gradient and logits.device.type in _DEVICES


class _FusedRows(torch.autograd.Function):
    """See `fused_rows`. Per element, with p = sigmoid(z) and the focusing factor m:

    negative: m = p^gamma, term m softplus(z), derivative m (p + gamma (1 - p) softplus(z));
    positive: m = (1 - p)^gamma, term m softplus(-z), derivative -m ((1 - p) + gamma p softplus(-z)).
    """

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        targets: Tensor,
        foreground: Tensor | None,
        background: Tensor | None,
        positive: Tensor | None,
        gamma: float,
    ) -> Tensor:
        gradient = torch.empty_like(logits, memory_format=torch.contiguous_format)
        rows = logits.new_empty(len(logits))
        for start in range(0, len(logits), _ROWS_PER_BLOCK):
            block = slice(start, start + _ROWS_PER_BLOCK)
            z, out, labels, total = logits[block], gradient[block], targets[block], rows[block]
            _negatives(z, out, total, labels < z.shape[1], foreground, background, gamma)
            _positives(z, out, total, labels, foreground, positive, gamma)
        ctx.save_for_backward(gradient)
        return rows

    @staticmethod
    def backward(ctx: Any, grad_rows: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # create_graph=True: autograd would silently treat the gradient as a constant
            raise LtDetError(
                "The fast path of the sigmoid losses has no second derivative; compute the loss within "
                "lt_det.losses.plain_formulas()."
            )
        (gradient,) = ctx.saved_tensors
        return gradient * grad_rows.unsqueeze(1), None, None, None, None, None


def _negatives(
    z: Tensor,
    out: Tensor,
    total: Tensor,
    is_foreground: Tensor,
    foreground: Tensor | None,
    background: Tensor | None,
    gamma: float,
) -> None:
    """Treat every element as a negative: write its derivative to `out`, and the weighted sum of each row to `total`."""
    p = torch.sigmoid(z)
    # softplus(z) = max(z, 0) - log(1 - min(p, 1 - p)): as accurate, and a quarter faster because p is known
    terms = z.clamp(min=0).sub_(torch.minimum(p, 1 - p).neg_().log1p_())
    factor = _column_weights(z, is_foreground, foreground, background)
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
    torch.sum(terms, dim=1, out=total)


def _positives(
    z: Tensor,
    out: Tensor,
    total: Tensor,
    labels: Tensor,
    foreground: Tensor | None,
    positive: Tensor | None,
    gamma: float,
) -> None:
    """Correct the target's element of each foreground row in `out` and `total`."""
    index = (labels < z.shape[1]).nonzero().squeeze(1)
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
    out[index, labels] = slope
    total.index_add_(0, index, as_positive - as_negative)


def _column_weights(
    z: Tensor, is_foreground: Tensor, foreground: Tensor | None, background: Tensor | None
) -> Tensor | None:
    """Weights of the negative terms, which broadcast to `z`; None if all are 1."""
    if foreground is None and background is None:
        return None
    if foreground is background:
        return foreground
    ones = z.new_ones(z.shape[1])
    pair = torch.stack([ones if w is None else w for w in (background, foreground)])
    return pair.index_select(0, is_foreground.long())


def fused_rows(
    logits: Tensor,
    targets: Tensor,
    *,
    foreground: Tensor | None = None,
    background: Tensor | None = None,
    positive: Tensor | None = None,
    gamma: float = 0.0,
) -> Tensor:
    """For each row i: a_y (1 - p_iy)^gamma BCE(z_iy, 1) + sum_{j != y} w_j p_ij^gamma BCE(z_ij, 0), p = sigmoid(z).

    Args:
        logits: (N, C) float32 or float64.
        targets: (N,); a target of C or above is background and has no positive term.
        foreground, background: (C,) weights w of the negative terms on foreground and on background rows; None: 1.
        positive: (C,) weights a of the positive terms; None: 1.
        gamma: focusing exponent; 0 for plain cross-entropy.

    Returns:
        (N,).
    """
    rows: Tensor = _FusedRows.apply(logits, targets, foreground, background, positive, gamma)
    return rows
