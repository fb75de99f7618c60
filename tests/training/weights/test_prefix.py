"""Weights whose names have a prefix."""

import pytest
import torch

from lt_det.training import LongTailCheckpointer
from lt_det.training.checkpointer import evaluation_checkpointer
from lt_det.training.weights.prefix import prefix_of
from tests.helpers.models import seeded_model, small_config


@pytest.mark.parametrize("prefix", ["_orig_mod.", "model.", "module.", "module._orig_mod.", "net.0.", ""])
@pytest.mark.parametrize("checkpointer", [evaluation_checkpointer, LongTailCheckpointer])
def test_a_prefix_of_all_names_is_left_out(tmp_path, caplog, prefix, checkpointer):
    model = seeded_model(small_config())
    weights = {f"{prefix}{name}": weight + 1 for name, weight in model.state_dict().items()}
    torch.save({"model": weights}, tmp_path / "model.pth")
    checkpointer(model).load(str(tmp_path / "model.pth"))
    assert all(torch.equal(weights[f"{prefix}{name}"], weight) for name, weight in model.state_dict().items())
    assert "lacks" not in caplog.text


@pytest.mark.parametrize(
    ("names", "prefix"),
    [
        (["a.x", "a.y"], ""),  # the network's own names
        (["p.a.x", "p.a.y", "p.b.z"], "p."),
        (["p.a.x", "b.z"], ""),
        (["p.a.x", "p.c", "p.d"], ""),  # another network
        (["x", "y"], ""),
        ([], ""),
    ],
)
def test_only_what_all_names_have(names, prefix):
    assert prefix_of(dict.fromkeys(names), ["a.x", "a.y", "b.z"]) == prefix
