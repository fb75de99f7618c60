"""The fused form against the plain one."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck

from lt_det.losses.sigmoid import one_hot_foreground
from lt_det.losses.weighted_sigmoid import weighted_sigmoid_cross_entropy


def plain(logits, gt_classes, foreground, background):
    num_classes = logits.shape[1] - 1
    targets = one_hot_foreground(gt_classes, num_classes, logits.dtype)
    is_foreground = (gt_classes < num_classes).unsqueeze(1)
    ones = torch.ones(num_classes, dtype=logits.dtype)
    columns = torch.where(
        is_foreground, ones if foreground is None else foreground, ones if background is None else background
    )
    weight = torch.where(targets > 0, 1.0, columns)
    terms = F.binary_cross_entropy_with_logits(logits[:, :num_classes], targets, reduction="none")
    return (weight * terms).sum()


@settings(deadline=None)
@given(
    st.integers(0, 9),
    st.integers(1, 6),
    st.sampled_from(["none", "foreground", "background", "both", "same"]),
    st.integers(0, 99),
)
def test_equals_the_plain_form(n, k, which, seed):
    generator = torch.Generator().manual_seed(seed)
    logits = (4 * torch.randn(n, k + 1, generator=generator, dtype=torch.float64)).requires_grad_()
    labels = torch.randint(0, k + 1, (n,), generator=generator)
    weights = [torch.rand(k, generator=generator, dtype=torch.float64) for _ in range(2)]
    foreground = weights[0] if which in ("foreground", "both", "same") else None
    background = {"background": weights[1], "both": weights[1], "same": foreground}.get(which)
    value = weighted_sigmoid_cross_entropy(logits, labels, foreground=foreground, background=background)
    (gradient,) = torch.autograd.grad(value, logits)
    expected = plain(logits, labels, foreground, background)
    (expected_gradient,) = torch.autograd.grad(expected, logits)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradient, expected_gradient)


def test_gradcheck():
    logits = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.tensor([0.0, 0.5, 2.0], dtype=torch.float64)
    labels = torch.tensor([0, 3, 1, 2, 3])
    assert gradcheck(lambda z: weighted_sigmoid_cross_entropy(z, labels, foreground=weight), [logits])


@pytest.mark.parametrize("size", [1e4, -1e4])
def test_finite_at_saturation(size):
    logits = torch.full((3, 4), size, requires_grad=True)
    value = weighted_sigmoid_cross_entropy(logits, torch.tensor([0, 1, 3]))
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(logits.grad).all()
