"""The form with a written-out gradient against the plain one."""

import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import gradcheck

from lt_det.losses._fused.affine_softmax import affine_cross_entropy


def plain(logits, gt_classes, *, scale=None, shift=None, target_shift=None, row_shift=None, smoothing=None, prior=None):
    target = F.one_hot(gt_classes, logits.shape[1]).to(logits.dtype)
    u = logits * (1 if scale is None else scale) + (0 if shift is None else shift)
    if target_shift is not None:
        u = u + target * target_shift.unsqueeze(1)
    if row_shift is not None:
        rows, values = row_shift
        u = u + torch.zeros_like(u).index_copy(0, rows, values)
    q = target if smoothing is None else (1 - smoothing).unsqueeze(1) * target + smoothing.unsqueeze(1) * prior
    return -(q * u.log_softmax(dim=1)).sum(dim=1)


def case(n, c, given_options, seed):
    generator = torch.Generator().manual_seed(seed)

    def random(*shape):
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    options = {}
    if "scale" in given_options:
        options["scale"] = random(c) + 0.5
    if "number" in given_options:
        options["scale"] = 3.0
    if "shift" in given_options:
        options["shift"] = random(c)
    if "target_shift" in given_options:
        options["target_shift"] = -random(n)
    if "row_shift" in given_options:
        rows = torch.arange(0, n, 2)
        options["row_shift"] = (rows, random(len(rows), c))
    if "smoothing" in given_options:
        options["smoothing"], options["prior"] = random(n), random(c).softmax(0)
    logits = (3 * torch.randn(n, c, generator=generator, dtype=torch.float64)).requires_grad_()
    return logits, torch.randint(0, c, (n,), generator=generator), options


every_option = st.sets(st.sampled_from(["scale", "number", "shift", "target_shift", "row_shift", "smoothing"]))


@given(st.integers(0, 6), st.integers(1, 6), every_option, st.integers(0, 99))
def test_equals_the_plain_form(n, c, given_options, seed):
    logits, labels, options = case(n, c, given_options, seed)
    before = logits.detach().clone()
    upstream = torch.rand(n, dtype=torch.float64)
    rows, expected = affine_cross_entropy(logits, labels, **options), plain(logits, labels, **options)
    torch.testing.assert_close(rows, expected)
    (gradient,) = torch.autograd.grad(rows, logits, upstream)
    (expected_gradient,) = torch.autograd.grad(expected, logits, upstream)
    torch.testing.assert_close(gradient, expected_gradient)
    assert torch.equal(logits, before)


def test_gradcheck():
    logits, labels, options = case(4, 3, {"scale", "shift", "target_shift", "row_shift", "smoothing"}, 0)
    assert gradcheck(lambda z: affine_cross_entropy(z, labels, **options), [logits])
