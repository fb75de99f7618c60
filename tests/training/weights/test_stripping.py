"""`lt-det strip-weights`: from files that are trusted, and from those that are not."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lt_det.cli import main
from lt_det.errors import LtDetError
from lt_det.training.weights.reading import read_weights
from lt_det.training.weights.stripping import strip_weights
from tests.helpers.hostile import Program


def test_only_with_the_option_the_program_runs(tmp_path, capsys):
    created, source, target = tmp_path / "created", tmp_path / "a.pth", tmp_path / "b.pth"
    torch.save({"model": nn.Linear(2, 3).state_dict(), "x": Program(created)}, source)
    assert main(["strip-weights", str(source), str(target)]) == 1
    assert f"strip-weights {source} a_weights.pth --allow-unsafe-weights" in capsys.readouterr().err
    assert not created.exists()
    assert not target.exists()
    assert main(["strip-weights", str(source), str(target), "--allow-unsafe-weights"]) == 0
    assert "2 weights" in capsys.readouterr().out
    assert created.exists()
    assert {name: weight.shape for name, weight in read_weights(target)["model"].items()} == {
        "weight": (3, 2),
        "bias": (3,),
    }


def test_a_whole_model_and_other_projects_files(tmp_path):
    model = nn.Linear(2, 2)
    for content in (
        model,
        {"model": model},
        {"state_dict": model.state_dict(), "meta": {"config": Path("x")}, "epoch": 3},
    ):
        torch.save(content, tmp_path / "a.pth")
        target = tmp_path / "b.pth"
        assert strip_weights(tmp_path / "a.pth", target, allow_unsafe=True) == 2
        assert torch.equal(read_weights(target)["model"]["weight"], model.weight)
        target.unlink()


def test_a_file_of_caffe2_keeps_its_renaming(tmp_path):
    (tmp_path / "a.pkl").write_bytes(
        pickle.dumps({"blobs": {"conv1_w": np.ones(2), "conv1_w_momentum": np.ones(2)}}, 2)
    )
    assert strip_weights(tmp_path / "a.pkl", tmp_path / "b.pth") == 1
    found = read_weights(tmp_path / "b.pth")
    assert (list(found.pop("model")), found) == (["conv1_w"], {"__author__": "Caffe2", "matching_heuristics": True})


@pytest.mark.parametrize("target", ["a.pth", "b.pkl", "missing/b.pth"])
def test_targets(tmp_path, target):
    torch.save({"model": {"w": torch.ones(1)}}, tmp_path / "a.pth")
    with pytest.raises(LtDetError, match=target):
        strip_weights(tmp_path / "a.pth", tmp_path / target)


def test_a_class_that_cannot_be_imported(tmp_path):
    (tmp_path / "a.pkl").write_bytes(b"cmissing_package\nThing\n.")
    with pytest.raises(LtDetError, match="missing_package"):
        strip_weights(tmp_path / "a.pkl", tmp_path / "b.pth", allow_unsafe=True)


def test_what_the_weights_belong_to_stays(tmp_path):
    kept = {"long_tail_box_heads": ["eql on Linear"], "long_tail_second_stage": "crt"}
    torch.save({"model": nn.Linear(2, 2).state_dict(), **kept, "optimizer": {}}, tmp_path / "a.pth")
    strip_weights(tmp_path / "a.pth", tmp_path / "b.pth")
    found = read_weights(tmp_path / "b.pth")
    assert {key: found.get(key) for key in kept} == kept
    assert "optimizer" not in found


def test_weights_under_another_key(tmp_path):
    weights = {"a": torch.ones(2)}
    torch.save({"model_ema": weights, "epoch": 3, "optimizer": {"state": {}}}, tmp_path / "average.pth")
    strip_weights(tmp_path / "average.pth", tmp_path / "new.pth")
    assert torch.equal(read_weights(tmp_path / "new.pth")["model"]["a"], weights["a"])
    torch.save({"model_ema": weights, "teacher": weights}, tmp_path / "two.pth")
    with pytest.raises(LtDetError, match="'model_ema', 'teacher'"):
        strip_weights(tmp_path / "two.pth", tmp_path / "other.pth")
