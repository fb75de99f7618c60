"""`torch.compile` of the losses: which are one graph, and whether it is computed by the loss's formula.

With the backend "eager", which runs the captured graph as it is: a real backend takes minutes on the CPU.
"""

import numpy as np
import pytest
import torch

from lt_det.losses import LOSSES, build_loss, plain_formulas
from lt_det.statistics import ClassStats

COUNTS = np.array([1, 5, 20, 100, 400, 900])
STATS = ClassStats(tuple("abcdef"), COUNTS, COUNTS, 1000, "synthetic")
# The number of foreground rows, or of sampled classes, is a value on the GPU that the host has to know.
IN_PARTS = {"federated", "seesaw", "seql"}


def loss_and_input(name):
    torch.manual_seed(0)
    loss = build_loss(name, STATS, **({"alpha": 1.0} if name == "ib" else {}))
    loss.progress = 1.0
    logits = torch.rand(12, loss.num_logits, requires_grad=True)
    return loss, (logits, torch.tensor([0, 5, 3, 3, *[6] * 8]), torch.rand(12, 16))


def value_and_gradient(call, arguments):
    torch.manual_seed(1)
    value = call(*arguments)
    (gradient,) = torch.autograd.grad(value, arguments[0])
    return value.detach(), gradient


@pytest.mark.parametrize(
    "name",
    [name if name == "eql" else pytest.param(name, marks=pytest.mark.long) for name in sorted(LOSSES)],
)
def test_compiled_losses_are_those_of_the_formulas(name):
    torch._dynamo.reset()
    loss, arguments = loss_and_input(name)
    compiled = torch.compile(loss, backend="eager", fullgraph=name not in IN_PARTS)
    found = value_and_gradient(compiled, arguments)
    with plain_formulas():
        expected = value_and_gradient(loss_and_input(name)[0], arguments)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


@pytest.mark.long
def test_phases_compile_again_a_few_times_only():
    """The progress is a number that changes in each step."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    loss, arguments = loss_and_input("ib")
    compiled = torch.compile(loss, backend="eager")
    for step in range(20):
        loss.progress = step / 20
        compiled(*arguments)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 4
