"""Weights to evaluate with, or to resume from, are all there, with the model's shapes, as real numbers."""

import pytest
import torch

from lt_det.errors import LtDetError
from lt_det.training.checkpointer import LongTailCheckpointer, evaluation_checkpointer
from tests.helpers.models import seeded_model, small_config

SOME = ("backbone.", "proposal_generator.", "roi_heads.box_head.", "roi_heads.box_predictor.")


@pytest.fixture(scope="module")
def model():
    return seeded_model(small_config())


def saved(model, file, change):
    weights = {name: weight.clone() for name, weight in model.state_dict().items()}
    change(weights)
    torch.save({"model": weights}, file)
    return str(file)


def first(weights, part):
    return next(name for name, weight in weights.items() if name.startswith(part) and weight.is_floating_point())


@pytest.mark.parametrize("part", SOME)
def test_a_missing_weight_is_named(model, tmp_path, part):
    name = first(model.state_dict(), part)
    file = saved(model, tmp_path / "model.pth", lambda weights: weights.pop(name))
    with pytest.raises(LtDetError, match=name.replace(".", r"\.")):
        evaluation_checkpointer(model).load(file)
    LongTailCheckpointer(model).load(file)  # to fine-tune


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64])
def test_numbers_that_would_be_rounded_or_cut(model, tmp_path, dtype):
    name = first(model.state_dict(), "backbone.")
    file = saved(model, tmp_path / "model.pth", lambda weights: weights.update({name: weights[name].to(dtype)}))
    with pytest.raises(LtDetError, match=rf"{name} .*\b{str(dtype)[6:]} .*float32"):
        evaluation_checkpointer(model).load(file)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_precision_are_used(model, tmp_path, dtype):
    def change(weights):
        weights.update({name: weight.to(dtype) for name, weight in weights.items() if weight.is_floating_point()})

    evaluation_checkpointer(model).load(saved(model, tmp_path / "model.pth", change))


@pytest.mark.parametrize("heads", [3, [1, None], "text"])
def test_records_of_another_type(model, tmp_path, heads):
    torch.save({"model": model.state_dict(), "long_tail_box_heads": heads}, tmp_path / "model.pth")
    with pytest.raises(LtDetError, match=r"model\.pth"):
        evaluation_checkpointer(model).load(str(tmp_path / "model.pth"))


@pytest.mark.parametrize(("part", "key"), [("mask", "MASK_ON"), ("keypoint", "KEYPOINT_ON")])
def test_a_head_that_was_not_trained(model, tmp_path, part, key):
    torch.save({"model": model.state_dict()}, tmp_path / "model.pth")
    more = seeded_model(small_config(**{f"MODEL.{key}": True}))
    with pytest.raises(LtDetError, match=rf"no {part} head .*MODEL\.{key}"):
        evaluation_checkpointer(more).load(str(tmp_path / "model.pth"))
