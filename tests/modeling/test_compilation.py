"""MODEL.COMPILE: the backbone is compiled, numbers and names of weights stay, and a compiler must be there."""

import os
import sys

import pytest
import torch
from detectron2.utils.events import EventStorage
from torch import nn

from lt_det.errors import LtDetError
from lt_det.modeling.compilation import check_compiler, compile_backbone
from lt_det.trainer_keys import COMPILE, TrainerKeys
from tests.helpers.models import seeded_model, small_config, synthetic_batch


@pytest.fixture
def fast_compiler(monkeypatch):
    """torch's own tracing without the code that takes a minute to make."""
    compile_module = nn.Module.compile
    monkeypatch.setattr(
        nn.Module, "compile", lambda self, **options: compile_module(self, backend="aot_eager", **options)
    )


def losses(model):
    with EventStorage(0):
        torch.manual_seed(0)
        found = model.train()(synthetic_batch())
        sum(found.values()).backward()
    return found, {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


@pytest.mark.skipif(not hasattr(nn.Module, "compile"), reason="torch before 2.2 compiles no module in place")
def test_names_and_numbers_stay(fast_compiler):
    cfg = small_config()
    plain, compiled = seeded_model(cfg), seeded_model(cfg)
    compile_backbone(compiled)
    assert list(compiled.state_dict()) == list(plain.state_dict())
    expected, gradients = losses(plain)
    found, found_gradients = losses(compiled)
    assert compiled.backbone._compiled_call_impl is not None
    for name, loss in expected.items():
        assert torch.allclose(found[name], loss, rtol=1e-5), name
    assert found_gradients.keys() == gradients.keys()
    for name, gradient in gradients.items():
        assert torch.allclose(found_gradients[name], gradient, rtol=1e-3, atol=1e-5), name


@pytest.mark.skipif(not hasattr(nn.Module, "compile"), reason="torch before 2.2 compiles no module in place")
def test_the_key_is_applied(fast_compiler):
    cfg = small_config()
    cfg.MODEL.COMPILE = True
    model = seeded_model(cfg)
    with pytest.raises(LtDetError, match=r"MODEL\.COMPILE is True"):
        losses(model)
    compile_backbone(model)
    losses(model)
    assert TrainerKeys.from_lazy({"compile": True})._pending == {COMPILE: True}


def test_no_compiler(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CXX", "my-compiler")
    with pytest.raises(LtDetError, match=r"MODEL\.COMPILE.*my-compiler"):
        check_compiler("cpu")
    with pytest.raises(LtDetError, match=r"MODEL\.COMPILE.*my-compiler"):
        compile_backbone(seeded_model(small_config()))
    (tmp_path / "my-compiler").symlink_to(sys.executable)
    check_compiler("cpu")
    assert os.environ["CXX"] == "my-compiler"


@pytest.mark.skipif(sys.platform != "linux", reason="where torch looks for g++")
def test_a_compiler_that_torch_does_not_look_for(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    (tmp_path / "clang++").symlink_to(sys.executable)
    with pytest.raises(LtDetError, match=r"MODEL\.COMPILE.*g\+\+"):
        check_compiler("cpu")
    for compiler in ("clang++", "clang++ -O1"):
        monkeypatch.setenv("CXX", compiler)
        check_compiler("cpu")
    monkeypatch.setenv("CXX", "")
    with pytest.raises(LtDetError, match=r"MODEL\.COMPILE"):
        check_compiler("cpu")


def test_no_triton(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(LtDetError, match="triton"):
        check_compiler("cuda")


def test_no_backbone():
    with pytest.raises(LtDetError, match="Linear has none"):
        compile_backbone(nn.Linear(2, 2))
