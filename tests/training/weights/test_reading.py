"""Checkpoints of every kind are read, damaged and foreign files give one sentence, and nothing in them runs."""

import contextlib
import json
import os
import pickle
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn

from lt_det.compat import torch as compat
from lt_det.errors import LtDetError
from lt_det.training.checkpointer import LongTailCheckpointer, evaluation_checkpointer
from lt_det.training.weights.reading import open_checkpoint, read_weights
from tests.helpers.hostile import Program, hostile_weights


def refusal(path) -> str:
    with pytest.raises(LtDetError) as error:
        read_weights(path)
    message = str(error.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def saved(path, content, **options):
    torch.save(content, path, **options)
    return path


@pytest.fixture(params=["torch's reader", "lt_det's reader"])
def _each_reader(request, monkeypatch):
    """Also the one that stands in for torch's before 2.6."""
    if request.param == "lt_det's reader":
        monkeypatch.setattr(torch, "__version__", torch.torch_version.TorchVersion("2.1.2"))


@pytest.mark.usefixtures("_each_reader")
@pytest.mark.parametrize("zipped", [True, False])
def test_numpy_beside_the_weights(tmp_path, zipped):
    """Scalars, arrays and dtypes, as trainings of other projects save them with their best metric."""
    model = nn.BatchNorm2d(3)
    extra = {"best": np.float64(0.3), "all": np.arange(3), "kind": np.dtype("f4"), "iteration": 4, "name": "x"}
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    content = {"model": model.state_dict(), **extra, "optimizer": optimizer.state_dict(), "size": torch.Size([1])}
    found = read_weights(saved(tmp_path / "a.pth", content, _use_new_zipfile_serialization=zipped))
    assert found["model"]._metadata == content["model"]._metadata
    assert {name: weight.tolist() for name, weight in found["model"].items()} == {
        name: weight.tolist() for name, weight in model.state_dict().items()
    }
    assert found["all"].tolist() == [0, 1, 2]
    assert {key: found[key] for key in extra if key != "all"} == {key: extra[key] for key in extra if key != "all"}


@pytest.mark.usefixtures("_each_reader")
def test_no_program_runs(tmp_path):
    created = tmp_path / "created"
    for file in hostile_weights(tmp_path, created):
        message = refusal(file)
        assert "posix.system" in message
        assert f"lt-det strip-weights {file}" in message
        assert "--allow-unsafe-weights" in message
        with pytest.raises(LtDetError, match=r"posix\.system"):
            evaluation_checkpointer(nn.Linear(2, 2)).load(str(file))
    assert not created.exists()


@pytest.mark.usefixtures("_each_reader")
@pytest.mark.parametrize(
    ("value", "name"),
    [(np.array([None]), "numpy.dtype"), (nn.Linear(2, 2), "torch.nn.modules.linear.Linear"), (slice(1), "slice")],
)
def test_other_classes_are_named(tmp_path, value, name):
    assert name in refusal(saved(tmp_path / "a.pth", {"model": {"a": torch.ones(1)}, "x": value}))


def test_resume_runs_no_program(tmp_path):
    """Neither the last checkpoint nor the others in the folder, which are looked at for an intact one."""
    created = tmp_path / "created"
    checkpointer = LongTailCheckpointer(nn.Linear(2, 2), str(tmp_path))
    checkpointer.save("model_0000004", iteration=4)
    saved(tmp_path / "model_0000009.pth", {"model": nn.Linear(2, 2).state_dict(), "x": Program(created)})
    (tmp_path / "last_checkpoint").write_text("model_0000009.pth")
    assert checkpointer.resume_or_load("", resume=True)["iteration"] == 4
    assert not created.exists()


ZOO = {"conv1_w": np.ones((2, 3), np.float32), "conv1_b": np.zeros(2, np.float32)}


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_files_of_the_model_zoos(tmp_path, protocol):
    """The rules are those of Detectron2's own checkpointer."""

    def read(name, content):
        (tmp_path / name).write_bytes(pickle.dumps(content, protocol))
        found = read_weights(tmp_path / name)
        weights = found.pop("model")
        assert all(isinstance(weight, torch.Tensor) for weight in weights.values())
        return sorted(weights), found

    caffe2 = {"__author__": "Caffe2", "matching_heuristics": True}
    assert read("a.pkl", ZOO) == (["conv1_b", "conv1_w"], caffe2)
    assert read("b.pkl", {"blobs": {**ZOO, "conv1_w_momentum": ZOO["conv1_w"]}}) == (["conv1_b", "conv1_w"], caffe2)
    zoo = {"model": OrderedDict(ZOO), "__author__": "torchvision", "matching_heuristics": True}
    assert read("c.pkl", zoo) == (["conv1_b", "conv1_w"], {"__author__": "torchvision", "matching_heuristics": True})


def test_other_files_with_weights(tmp_path):
    weight = torch.ones(2)
    found = read_weights(saved(tmp_path / "a.pyth", {"model_state": {"w": weight, "bn.num_batches_tracked": weight}}))
    assert (list(found["model"]), found["__author__"], found["matching_heuristics"]) == (["w"], "pycls", True)
    assert list(read_weights(saved(tmp_path / "b.pth", {"w": weight}))["model"]) == ["w"]  # a bare state dict
    numbers = {"big": np.arange(3, dtype=">f4"), "scalar": np.float32(2), "rows": np.asfortranarray(np.ones((2, 3)))}
    found = read_weights(saved(tmp_path / "c.pth", {"model": numbers}))["model"]
    assert (found["big"].tolist(), found["scalar"].item(), found["rows"].shape) == ([0, 1, 2], 2, (2, 3))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ([1, 2], "a list"),
        (3, "a number"),
        (None, "None"),
        ("text", "a text"),
        (torch.ones(2), "a Tensor"),
        ({}, "no weights"),
        ({"model": None}, "no weights"),
        ({"model": {"a": 1}}, "'a' is a number"),
        ({"model": {"a": "text"}}, "'a' is a text"),
        ({"model": {3: torch.ones(1)}}, "'3'"),
        ({"state_dict": {"a": torch.ones(1)}, "meta": {}}, "'state_dict' is a dictionary"),
    ],
)
def test_values_that_are_no_weights(tmp_path, content, complaint):
    assert complaint in refusal(saved(tmp_path / "a.pth", content))


@pytest.mark.parametrize("value", ["[1]", "3", "None", "'text'"])
def test_pickles_that_are_no_weights(tmp_path, value):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(eval(value)))
    assert "no checkpoint" in refusal(tmp_path / "a.pkl")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n", "git lfs pull"),
        (b"\n<!DOCTYPE html><html></html>", "web page"),
        (json.dumps({"a": 1}).encode(), "json"),
        (b"PK\x03\x04 and nothing more", "truncated"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"\xfd7zXZ\x00\x00", "xz"),
        (b"7z\xbc\xaf'\x1c", "7z"),
        (b'\x08\0\0\0\0\0\0\0{"a":{}}', "safetensors"),
        (b"neither text nor weights", "corrupt"),
        (bytes(range(256)), "corrupt"),
    ],
)
@pytest.mark.parametrize("name", ["a.pth", "a.pkl"])
def test_other_files(tmp_path, name, content, complaint):
    (tmp_path / name).write_bytes(content)
    assert complaint in refusal(tmp_path / name)


def test_an_archive_with_a_checkpoint_in_it(tmp_path):
    saved(tmp_path / "model_final.pth", {"model": nn.Linear(2, 2).state_dict()})
    with zipfile.ZipFile(tmp_path / "download.pth", "w") as archive:
        archive.write(tmp_path / "model_final.pth", "best/model_final.pth")
    assert "best/model_final.pth in it; unpack it" in refusal(tmp_path / "download.pth")


def test_what_is_no_file(tmp_path):
    assert "folder" in refusal(tmp_path)
    assert "no such file" in refusal(tmp_path / "missing.pth")
    os.mkfifo(tmp_path / "pipe.pth")
    assert "no such file" in refusal(tmp_path / "pipe.pth")
    with pytest.raises(LtDetError, match="is a folder"):
        evaluation_checkpointer(nn.Linear(2, 2)).load(str(tmp_path))


def test_truncated(tmp_path):
    whole = saved(tmp_path / "a.pth", {"model": nn.Linear(9, 9).state_dict()}).read_bytes()
    for length in (100, len(whole) // 2, len(whole) - 1):
        (tmp_path / "b.pth").write_bytes(whole[:length])
        refusal(tmp_path / "b.pth")


def test_a_flipped_bit_is_found(tmp_path):
    """torch compares no checksums: it would load another weight."""
    path = saved(tmp_path / "a.pth", {"model": {"w": torch.full((1000,), 3.0)}})
    content = bytearray(path.read_bytes())
    content[content.index(np.float32(3).tobytes() * 9) + 400] ^= 1
    path.write_bytes(content)
    assert not torch.equal(torch.load(path, weights_only=True)["model"]["w"], torch.full((1000,), 3.0))
    assert "checksum" in refusal(path)
    with pytest.raises(LtDetError, match="checksum"):
        evaluation_checkpointer(nn.Linear(2, 2)).load(str(path))


def test_mutated_archives_are_refused_or_equal(tmp_path):
    """Bytes that differ may lie between the files of an archive, where they are harmless."""
    weights = nn.Linear(8, 8).state_dict()
    whole = saved(tmp_path / "a.pth", {"model": weights, "best": np.float64(3)}).read_bytes()
    generator, equal = np.random.default_rng(0), 0
    for _ in range(150):
        content = bytearray(whole)
        place = int(generator.integers(len(content)))
        content[place : place + int(generator.integers(1, 4))] = generator.bytes(int(generator.integers(0, 4)))
        (tmp_path / "b.pth").write_bytes(content)
        with contextlib.suppress(LtDetError):
            found = read_weights(tmp_path / "b.pth")
            equal += 1
            assert found["best"] == 3
            assert all(torch.equal(found["model"][name], weight) for name, weight in weights.items())
    assert equal < 75


@pytest.mark.parametrize("bad", [torch.inf, torch.nan])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.complex64])
def test_weights_that_are_not_finite(tmp_path, bad, dtype):
    weights = {"good": torch.ones(3, dtype=dtype), "number": torch.tensor(3), "bad": torch.ones(3, dtype=dtype)}
    weights["bad"][1] = bad
    message = refusal(saved(tmp_path / "a.pth", {"model": weights}))
    assert "1 of 3" in message
    assert "bad" in message


def test_options_of_an_address(tmp_path):
    model = nn.Linear(2, 2)
    path = saved(tmp_path / "a.pth", {"model": model.state_dict()})
    assert LongTailCheckpointer(model).load(f"{path}?matching_heuristics=True")["matching_heuristics"] is True
    with pytest.raises(LtDetError, match="the option colour"):
        LongTailCheckpointer(model).load(f"{path}?colour=red")


def test_a_look_without_reading_the_weights(tmp_path):
    path = saved(tmp_path / "a.pth", {"model": {"w": torch.ones(3)}, "long_tail_second_stage": "crt"})
    assert open_checkpoint(path, mmap=True)["long_tail_second_stage"] == "crt"


def test_a_checkpointer_can_try_again(tmp_path):
    model = nn.Linear(2, 2)
    checkpointer = LongTailCheckpointer(model, str(tmp_path))
    checkpointer.save("good")
    (tmp_path / "bad.pth").write_bytes(b"x")
    with pytest.raises(LtDetError):
        checkpointer.load(str(tmp_path / "bad.pth"))
    checkpointer.load(str(tmp_path / "good.pth"))


def test_programs_of_torchscript(tmp_path):
    torch.jit.script(nn.Linear(2, 2)).save(str(tmp_path / "a.pth"))
    assert zipfile.is_zipfile(tmp_path / "a.pth")
    assert "TorchScript" in refusal(tmp_path / "a.pth")


def test_the_stand_in_is_really_used(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(compat, "_load_with_own_reader", lambda *arguments: calls.append(arguments))
    monkeypatch.setattr(torch, "__version__", torch.torch_version.TorchVersion("2.5.1"))
    compat.load_weights_only("file")
    monkeypatch.setattr(torch, "__version__", torch.torch_version.TorchVersion("2.6.0"))
    compat.load_weights_only(str(saved(tmp_path / "a.pth", {"a": 1})))
    assert calls == [("file", False)]
