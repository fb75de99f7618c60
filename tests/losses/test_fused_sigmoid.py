"""The fused path against the plain formula."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import gradcheck

from lt_det.losses._fused_sigmoid import fused_rows


def plain(logits, targets, *, foreground=None, background=None, positive=None, gamma=0.0):
    """What the docstring says, on whole matrices and with autograd's derivative."""
    columns = logits.shape[1]
    ones = torch.ones(columns, dtype=logits.dtype)
    foreground, background, positive = (ones if w is None else w for w in (foreground, background, positive))
    is_target = F.one_hot(targets, columns + 1)[:, :columns].bool()
    weight = torch.where((targets < columns).unsqueeze(1), foreground, background)
    weight = torch.where(is_target, positive, weight)
    signed = torch.where(is_target, logits, -logits)
    return (-F.logsigmoid(signed) * torch.exp(gamma * F.logsigmoid(-signed)) * weight).sum(dim=1)


@given(
    n=st.integers(0, 9),
    k=st.integers(1, 6),
    given_weights=st.sets(st.sampled_from(["foreground", "background", "positive", "same"])),
    gamma=st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.5]),
    seed=st.integers(0, 99),
)
def test_equals_the_plain_form(n, k, given_weights, gamma, seed):
    generator = torch.Generator().manual_seed(seed)
    logits = (4 * torch.randn(n, k, generator=generator, dtype=torch.float64)).requires_grad_()
    labels = torch.randint(0, k + 1, (n,), generator=generator)
    options = {name: torch.rand(k, generator=generator, dtype=torch.float64) for name in given_weights}
    if options.pop("same", None) is not None and "foreground" in options:
        options["background"] = options["foreground"]
    rows, expected = fused_rows(logits, labels, **options, gamma=gamma), plain(logits, labels, **options, gamma=gamma)
    upstream = torch.rand(n, generator=generator, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(rows, logits, upstream)
    (expected_gradient,) = torch.autograd.grad(expected, logits, upstream)
    torch.testing.assert_close(rows, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-12, atol=1e-12)


def test_more_rows_than_a_block():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(700, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(0, 5, (700,), generator=generator)
    torch.testing.assert_close(fused_rows(logits, labels, gamma=2.0), plain(logits, labels, gamma=2.0))


def test_gradcheck():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    weight = torch.tensor([0.0, 0.5, 2.0], dtype=torch.float64)
    labels = torch.tensor([0, 3, 1, 2, 3])
    assert gradcheck(lambda z: fused_rows(z, labels, foreground=weight, gamma=0.5), [logits])


@pytest.mark.parametrize("size", [1e4, -1e4])
def test_finite_at_saturation(size):
    logits = torch.full((3, 3), size, requires_grad=True)
    rows = fused_rows(logits, torch.tensor([0, 1, 3]), gamma=0.5)
    rows.sum().backward()
    assert torch.isfinite(rows).all()
    assert torch.isfinite(logits.grad).all()
