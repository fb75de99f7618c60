"""The state of a training in a checkpoint is checked before the training continues with it."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from lt_det.errors import LtDetError
from lt_det.training.resume.image_stream import ImageStream
from lt_det.training.resume.loaded_state import check_loaded_state
from lt_det.training.resume.seed_passes import SeedPasses


def trained(kind=torch.optim.SGD, **options):
    model = nn.Linear(3, 2)
    optimizer = kind(model.parameters(), lr=0.1, **options)
    model(torch.ones(4, 3)).sum().backward()
    optimizer.step()
    return optimizer


@pytest.mark.parametrize(
    "optimizer",
    [
        trained(momentum=0.9),
        trained(),
        trained(torch.optim.AdamW, amsgrad=True),
        trained(torch.optim.Adagrad),
    ],
)
def test_the_state_of_a_training(optimizer):
    check_loaded_state("model.pth", 0, optimizer)


@pytest.mark.parametrize("iteration", [None, "3", 3.0, -1, True, [3]])
def test_an_iteration_that_is_not_a_number(iteration):
    with pytest.raises(LtDetError, match=r"model\.pth cannot be resumed: its iteration is"):
        check_loaded_state("model.pth", iteration, trained())


@pytest.mark.parametrize("value", ["0.1", None, math.nan, math.inf, [0.1]])
@pytest.mark.parametrize("key", ["lr", "momentum", "weight_decay"])
def test_an_option_that_is_not_a_number(key, value):
    optimizer = trained(momentum=0.9)
    optimizer.param_groups[0][key] = value
    with pytest.raises(LtDetError, match=f"cannot be resumed: {key} of its optimizer"):
        check_loaded_state("model.pth", 3, optimizer)


@pytest.mark.parametrize("value", ["text", torch.ones(3), torch.ones(2, 3, 1), 5])
def test_a_buffer_of_another_shape(value):
    optimizer = trained(momentum=0.9)
    optimizer.state[optimizer.param_groups[0]["params"][0]]["momentum_buffer"] = value
    with pytest.raises(LtDetError, match=r"momentum_buffer of its optimizer is .* for a weight \[2, 3\]"):
        check_loaded_state("model.pth", 3, optimizer)


@pytest.mark.parametrize("seed", ["1", None, 1.5, [1]])
def test_a_seed_that_is_not_a_number(seed):
    stream = ImageStream([], seed=1)
    stream._seeded = {"images": SimpleNamespace(_seed=1)}
    for part, state in ((stream, {"seeds": {"images": seed}}), (SeedPasses(nn.Linear(1, 1), 1), {"seed": seed})):
        with pytest.raises(LtDetError, match=r"the seed of the .* is"):
            part.load_state_dict(state)
