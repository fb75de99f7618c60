"""Each loss as a function: reduction, the plain formula against the fast path, and the module around it."""

import doctest
import importlib
import pkgutil
from contextlib import nullcontext

import pytest
import torch
from torch.autograd import gradgradcheck

import lt_det.losses
from lt_det.errors import LtDetError
from lt_det.losses import (
    cdt_loss,
    class_balanced_loss,
    eql_loss,
    eqlv2_loss,
    federated_loss,
    focal_loss,
    ib_loss,
    label_smoothing_loss,
    ldam_loss,
    logit_adjustment_loss,
    plain_formulas,
    seesaw_loss,
    seql_loss,
    sigmoid_cross_entropy_loss,
    softmax_cross_entropy_loss,
)

K, N = 5, 600  # more rows than a block of the fast path
PER_CLASS = torch.tensor([0.1, 0.5, 1.0, 1.5, 2.0])
IS_TAIL = torch.tensor([True, False, True, False, False])


# Sigmoid losses see background as label K, beside K columns; here softmax losses have K columns, all of them classes.
SIGMOID = {
    "sigmoid": sigmoid_cross_entropy_loss,
    "focal": focal_loss,
    "focal without alpha": lambda z, y, **kw: focal_loss(z, y, alpha=None, gamma=0.5, **kw),
    "eql": lambda z, y, **kw: eql_loss(z, y, IS_TAIL, **kw),
    "eql without exemption": lambda z, y, **kw: eql_loss(z, y, IS_TAIL, exempt_background=False, **kw),
    "federated": lambda z, y, **kw: federated_loss(z, y, torch.tensor([True, True, True, True, False]), **kw),
    "class_balanced sigmoid": lambda z, y, **kw: class_balanced_loss(
        z, y, torch.cat([PER_CLASS, torch.ones(1)]), base="sigmoid", **kw
    ),
    "class_balanced focal": lambda z, y, **kw: class_balanced_loss(
        z, y, torch.cat([PER_CLASS, torch.ones(1)]), base="focal", **kw
    ),
}
FEATURES = torch.rand(N, 3, generator=torch.Generator().manual_seed(1))
BETA = torch.rand(N, K, generator=torch.Generator().manual_seed(1)) < 0.5
SOFTMAX = {
    "eqlv2": lambda z, y, **kw: eqlv2_loss(z, y, 1 + PER_CLASS, PER_CLASS, **kw),
    "softmax": softmax_cross_entropy_loss,
    "class_balanced": lambda z, y, **kw: class_balanced_loss(z, y, PER_CLASS, **kw),
    "cdt": lambda z, y, **kw: cdt_loss(z, y, PER_CLASS, **kw),
    "label_smoothing": label_smoothing_loss,
    "ldam": lambda z, y, **kw: ldam_loss(z, y, PER_CLASS, **kw),
    "ldam hinge": lambda z, y, **kw: ldam_loss(z, y, PER_CLASS, hinge=True, **kw),
    "logit_adjustment": lambda z, y, **kw: logit_adjustment_loss(z, y, PER_CLASS.log(), **kw),
    "seesaw": lambda z, y, **kw: seesaw_loss(z, y, 10 * PER_CLASS, **kw),
    "seql": lambda z, y, **kw: seql_loss(z, y, BETA[: len(y)], **kw),
    "ib": lambda z, y, **kw: ib_loss(z, y, FEATURES[: len(y)], PER_CLASS, **kw),
}
LOSSES = {**SIGMOID, **SOFTMAX}
every_loss = pytest.mark.parametrize("name", LOSSES)


def batch(name, n=N, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(n, K, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, K + (name in SIGMOID) - (name == "federated"), (n,), generator=generator)
    labels[labels == K - 1] = K if name == "federated" else K - 1  # the class that is not in its sample
    return logits.to(dtype).requires_grad_(), labels


@every_loss
def test_reductions(name):
    logits, labels = batch(name)
    rows = LOSSES[name](logits, labels, reduction="none")
    assert rows.shape == (N,)
    torch.testing.assert_close(LOSSES[name](logits, labels, reduction="sum"), rows.sum())
    torch.testing.assert_close(LOSSES[name](logits, labels, reduction="mean"), rows.sum() / N)
    torch.testing.assert_close(LOSSES[name](logits, labels), rows.sum() / N)
    torch.testing.assert_close(LOSSES[name](logits[:3], labels[:3], reduction="none"), rows[:3])
    with pytest.raises(LtDetError, match="reduction is 'average'"):
        LOSSES[name](logits, labels, reduction="average")


@every_loss
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_the_fast_path_is_the_formula(name, dtype, tolerance):
    """Rows and gradients, relative to the largest."""
    found = []
    for formulas in (plain_formulas, nullcontext):
        logits, labels = batch(name, dtype=dtype)
        with formulas():
            rows = LOSSES[name](logits, labels, reduction="none")
        (gradient,) = torch.autograd.grad(rows, logits, torch.linspace(0.5, 2, N, dtype=dtype))
        found.append((rows.detach(), gradient))
    for plain, fast in zip(*found, strict=True):
        assert (plain - fast).abs().max() <= tolerance * plain.abs().max()


@pytest.mark.parametrize("name", SIGMOID)
def test_the_fast_path_is_taken(name):
    """By the sigmoid losses where a gradient is wanted, so that the test above compares two things."""
    logits, labels = batch(name)
    assert "FusedRows" in graph(LOSSES[name](logits, labels))
    with plain_formulas():
        assert "FusedRows" not in graph(LOSSES[name](logits, labels))
    with torch.no_grad():
        assert LOSSES[name](logits, labels).grad_fn is None


def graph(value):
    """Names of the operations that the value came from."""
    names, functions = "", [value.grad_fn]
    while functions:
        function = functions.pop()
        names += function.name()
        functions += [parent for parent, _ in function.next_functions if parent is not None]
    return names


@every_loss
def test_the_formula_can_be_differentiated_twice(name):
    logits, labels = batch(name, n=4)
    if name == "seesaw":
        pytest.skip("its factor is held constant in the first derivative, by definition")
    with plain_formulas():
        assert gradgradcheck(lambda z: LOSSES[name](z, labels), [logits])


@pytest.mark.parametrize("name", ["sigmoid", "eql"])
def test_a_second_derivative_of_the_fast_path_is_refused(name):
    logits, labels = batch(name, n=4)
    value = LOSSES[name](logits, labels)
    with pytest.raises(LtDetError, match="plain_formulas"):
        torch.autograd.grad(value, logits, create_graph=True)


@every_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(name, dtype):
    logits, labels = batch(name, n=8, dtype=dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = LOSSES[name](logits, labels)
    expected = LOSSES[name](logits.detach().float(), labels)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value.detach(), expected)


@every_loss
def test_an_empty_batch_is_zero_with_a_gradient(name):
    logits, labels = batch(name, n=0)
    value = LOSSES[name](logits, labels)
    value.backward()
    assert value == 0
    assert logits.grad.shape == (0, K)


@every_loss
def test_other_targets_are_refused(name):
    logits, labels = batch(name, n=8)
    for wrong in (labels.float(), labels.int()):
        with pytest.raises(LtDetError, match=rf"int64.*{wrong.dtype}"):
            LOSSES[name](logits, wrong)
    with pytest.raises(LtDetError, match=r"\(8, 5\) and \(8, 5\)"):
        LOSSES[name](logits, torch.zeros(8, 5))


@pytest.mark.parametrize("module", [m.name for m in pkgutil.iter_modules(lt_det.losses.__path__)])
def test_examples_in_docstrings(module):
    assert doctest.testmod(importlib.import_module(f"lt_det.losses.{module}")).failed == 0


def test_there_are_examples_in_docstrings():
    examples = sum(
        len(test.examples) for test in doctest.DocTestFinder().find(importlib.import_module("lt_det.losses.eql"))
    )
    assert examples > 2
