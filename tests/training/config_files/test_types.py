"""Values of another type than the default's: what is written instead must then be accepted."""

import math

import pytest
import yaml

from lt_det.errors import LtDetError
from lt_det.training import load_config
from lt_det.training.config_files.keys import value_at
from lt_det.training.config_files.types import decoded
from tests.helpers import REPOSITORY

MINI = REPOSITORY / "configs" / "mini_lvis_softmax.yaml"

CASES = [
    ("SOLVER.BASE_LR", "fast", "a number, such as 0.001"),
    ("SOLVER.BASE_LR", "0,01", "a number"),
    ("SOLVER.BASE_LR", "[0.1]", "a number"),
    ("SOLVER.BASE_LR", "True", "a number"),
    ("SOLVER.BASE_LR", "1", "write 1.0"),
    ("SOLVER.MAX_ITER", "90k", "a whole number"),
    ("SOLVER.MAX_ITER", "9e4", "write 90000"),
    ("SOLVER.MAX_ITER", "9.5", "a whole number"),
    ("SOLVER.STEPS", "100", "[100]"),
    ("SOLVER.STEPS", "soon", "a list"),
    ("SOLVER.STEPS", "(100, 200", "brackets"),
    ("DATASETS.TRAIN", "mini_lvis_train", "['mini_lvis_train']"),
    ("DATASETS.TRAIN", "3", "a list"),
    ("MODEL.ANCHOR_GENERATOR.SIZES", "32", "a list, such as [["),
    ("MODEL.MASK_ON", "true", "True or False"),
    ("MODEL.MASK_ON", "1", "True or False"),
    ("MODEL.LONG_TAIL.LOSS.NAME", "3", "a string, such as 'softmax'"),
    ("MODEL.LONG_TAIL.CLASSIFIER", "['linear']", "a string"),
    ("MODEL.LONG_TAIL.LOSS.EQL.PRIOR_PROB", "high", "a number, such as 0.001"),  # of another loss than the configured
    ("OUTPUT_DIR", "2024", "\"'2024'\""),
    ("OUTPUT_DIR", "{[]: 1}", "brackets"),
    ("WANDB_PROJECT", "['a']", "one string"),
]


def refusal(*arguments) -> str:
    with pytest.raises(LtDetError) as error:
        load_config(*arguments)
    message = str(error.value)
    assert "\n" not in message
    assert "<class" not in message
    return message


@pytest.mark.parametrize(("key", "value", "advice"), CASES)
def test_in_a_file_and_on_the_command_line(tmp_path, key, value, advice):
    file = tmp_path / "a.yaml"
    content = decoded(value) if value != "{[]: 1}" and value != "true" else value
    for part in reversed(key.split(".")):
        content = {part: content}
    file.write_text(yaml.safe_dump({"_BASE_": str(MINI), **content}))
    message = refusal(str(file))
    assert message.startswith(f"{file}: {key} is ")
    assert advice in message
    message = refusal(str(MINI), [key, value])
    assert message.startswith("Override on the command line: ")
    assert key in message
    assert advice in message


def test_keys_where_a_value_is_wanted(tmp_path):
    file = tmp_path / "a.yaml"
    for key, advice in (("BASE_LR", "its value"), ("STEPS", "a list"), ("MAX_TO_KEEP", "its value")):
        file.write_text(f"SOLVER: {{{key}: {{VALUE: 1}}}}\n")
        message = refusal(str(file))
        assert f"SOLVER.{key} is {{'VALUE': 1}}" in message
        assert advice in message
    assert "SOLVER.MAX_TO_KEEP" in refusal(str(MINI), ["SOLVER.MAX_TO_KEEP", "{'VALUE': 1}"])


def test_the_file_with_the_mistake_is_named_and_not_the_one_that_inherits_it(tmp_path):
    base, file = tmp_path / "base.yaml", tmp_path / "a.yaml"
    base.write_text(f"_BASE_: {MINI}\nSOLVER: {{BASE_LR: fast, MAX_ITER: 0}}\n")
    file.write_text("_BASE_: base.yaml\nSOLVER: {GAMMA: 0.5}\n")
    assert refusal(str(file)).startswith(f"{base}: SOLVER.BASE_LR is 'fast'")
    file.write_text("_BASE_: base.yaml\nSOLVER: {BASE_LR: 0.1}\n")
    assert refusal(str(file)).startswith(f"{base}: SOLVER.MAX_ITER is 0")
    file.write_text("_BASE_: base.yaml\nSOLVER: {BASE_LR: 0.1, MAX_ITER: 5}\n")
    assert load_config(str(file)).SOLVER.MAX_ITER == 5


def test_strings_that_detectron2_evaluates(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text(f"_BASE_: {MINI}\nSOLVER: {{BASE_LR: 1e-3, STEPS: '5, 6'}}\nOUTPUT_DIR: \"'2024'\"\n")
    cfg = load_config(str(file))
    assert (cfg.SOLVER.BASE_LR, cfg.SOLVER.STEPS, cfg.OUTPUT_DIR) == (0.001, (5, 6), "2024")


def test_a_number_of_another_type_than_the_one_that_it_replaces():
    scale = "MODEL.LONG_TAIL.COSINE_SCALE"
    cfg = load_config("mini_lvis_softmax", [scale, "20", scale, "16.5", "MODEL.LONG_TAIL.LOSS.IB.ALPHA", "1000"])
    assert value_at(cfg, scale) == 16.5
    assert value_at(cfg, "MODEL.LONG_TAIL.LOSS.IB.ALPHA") == 1000


def test_infinity(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text(f"_BASE_: {MINI}\nMODEL: {{LONG_TAIL: {{LOSS: {{NAME: eqlv2, EQLV2: {{MU: .inf}}}}}}}}\n")
    assert "EQLV2.MU is inf" in refusal(str(file))
    file.write_text(f"_BASE_: {MINI}\nSOLVER: {{CLIP_GRADIENTS: {{NORM_TYPE: .inf}}}}\n")
    assert math.isinf(load_config(str(file)).SOLVER.CLIP_GRADIENTS.NORM_TYPE)  # the maximum norm


def test_a_tuple_that_yaml_splits_at_its_commas(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("INPUT: {MIN_SIZE_TRAIN: (96, 128), MIN_SIZE_TEST: 96}\n")
    with pytest.raises(LtDetError, match=r"MIN_SIZE_TRAIN is '\(96'; .*\[1, 2\]"):
        load_config(str(file))
