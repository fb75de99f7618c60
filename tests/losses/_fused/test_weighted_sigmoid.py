"""The fused form against the plain one."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import gradcheck

from lt_det.losses._fused.weighted_sigmoid import weighted_sigmoid_cross_entropy


def plain(logits, gt_classes, *, columns=None, foreground=None, background=None, positive=None, rows=None, gamma=0.0):
    """What the docstring says, on whole matrices and with autograd's derivative."""
    columns = logits.shape[1] - 1 if columns is None else columns
    z = logits[:, :columns]
    ones = torch.ones(columns, dtype=logits.dtype)
    foreground, background, positive = (ones if w is None else w for w in (foreground, background, positive))
    targets = F.one_hot(gt_classes, logits.shape[1])[:, :columns].bool()
    weight = torch.where((gt_classes < columns).unsqueeze(1), foreground, background)
    weight = torch.where(targets, positive, weight)
    signed = torch.where(targets, z, -z)
    terms = -F.logsigmoid(signed) * torch.exp(gamma * F.logsigmoid(-signed)) * weight
    return (terms if rows is None else terms * rows.unsqueeze(1)).sum()


@given(
    n=st.integers(0, 9),
    k=st.integers(1, 6),
    given_weights=st.sets(st.sampled_from(["foreground", "background", "positive", "rows", "same"])),
    gamma=st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.5]),
    all_columns=st.booleans(),
    seed=st.integers(0, 99),
)
def test_equals_the_plain_form(n, k, given_weights, gamma, all_columns, seed):
    generator = torch.Generator().manual_seed(seed)
    logits = (4 * torch.randn(n, k + 1, generator=generator, dtype=torch.float64)).requires_grad_()
    labels = torch.randint(0, k + 1, (n,), generator=generator)
    columns = k + 1 if all_columns else k
    options = {name: torch.rand(columns, generator=generator, dtype=torch.float64) for name in given_weights}
    if "rows" in options:
        options["rows"] = torch.rand(n, generator=generator, dtype=torch.float64)
    if options.pop("same", None) is not None and "foreground" in options:
        options["background"] = options["foreground"]
    options |= {"gamma": gamma, "columns": columns}
    value, derivative = weighted_sigmoid_cross_entropy(logits, labels, **options)
    (gradient,) = torch.autograd.grad(2 * value, logits)
    expected = plain(logits, labels, **options)
    (expected_gradient,) = torch.autograd.grad(expected, logits)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradient, 2 * expected_gradient)
    torch.testing.assert_close(derivative, expected_gradient)


def test_more_rows_than_a_block():
    logits = torch.randn(700, 4, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(0, 4, (700,))
    rows = torch.rand(700, dtype=torch.float64)
    value, _ = weighted_sigmoid_cross_entropy(logits, labels, rows=rows, gamma=2.0)
    torch.testing.assert_close(value, plain(logits, labels, rows=rows, gamma=2.0))


def test_gradcheck():
    logits = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.tensor([0.0, 0.5, 2.0], dtype=torch.float64)
    labels = torch.tensor([0, 3, 1, 2, 3])
    assert gradcheck(lambda z: weighted_sigmoid_cross_entropy(z, labels, foreground=weight, gamma=0.5)[0], [logits])


@pytest.mark.parametrize("size", [1e4, -1e4])
def test_finite_at_saturation(size):
    logits = torch.full((3, 4), size, requires_grad=True)
    value, _ = weighted_sigmoid_cross_entropy(logits, torch.tensor([0, 1, 3]), gamma=0.5)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(logits.grad).all()
