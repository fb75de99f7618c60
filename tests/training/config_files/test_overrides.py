"""Overrides that are no KEY VALUE pairs, or come in another form than the config's."""

import logging

import pytest

from lt_det.errors import LtDetError
from lt_det.training import load_config, load_lazy_config

LR = "SOLVER.BASE_LR"


@pytest.mark.parametrize(
    ("words", "named", "advice"),
    [
        ([LR], LR, "KEY VALUE"),
        (["MODEL.WEIGHTS", LR, "0.1"], "MODEL.WEIGHTS has no value", f"{LR} follows"),
        (["MODEL.WEIGHTS", LR, "0.1", "SEED"], "MODEL.WEIGHTS has no value", f"{LR} follows"),
        ([f"{LR}=0.1"], f"{LR}=0.1", f"write {LR} 0.1"),
        ([f"{LR}=0.1", "SEED=3"], f"{LR}=0.1", f"write {LR} 0.1"),
        (["train.max_iter=3"], "train.max_iter=3", "KEY VALUE"),
        ([LR, "0.1", "--resume"], "--resume", "options before"),
        ([LR, "0.1", "--num-gpus", "2"], "--num-gpus", "options before"),
        (["SOLVER.STEPS", "100", "200"], "'200'", "KEY VALUE"),
        ([f"{LR}:", "0.1"], f"'{LR}:'", "KEY VALUE"),
        (["MODEL.LONG_TAIL.LOSS", "eql"], "MODEL.LONG_TAIL.LOSS eql", "MODEL.LONG_TAIL.LOSS.KEY"),
        (["DATASETS.REGISTER.mine.JSON", "a.json"], "DATASETS.REGISTER.mine.JSON", "config file"),
    ],
)
def test_yaml(words, named, advice):
    with pytest.raises(LtDetError, match=r"^Override on the command line: ") as error:
        load_config("mini_lvis_softmax", words)
    assert named in str(error.value)
    assert advice in str(error.value)


@pytest.mark.parametrize(
    ("word", "advice"),
    [
        ("train.max_iter", "train.max_iter has no value"),
        ("SOLVER.MAX_ITER", "yaml configs"),
        ("--resume", "options before"),
        ("train.max_iter=[1", "cannot be read"),
        ("train.output_dir=${x", "cannot be read"),
    ],
)
def test_lazy(word, advice):
    with pytest.raises(LtDetError, match=r"^Override on the command line: ") as error:
        load_lazy_config("lazy/mini_lvis_eql", [word])
    assert word in str(error.value)
    assert advice in str(error.value)
    assert "Exception" not in str(error.value)


def test_a_key_given_twice_is_named(caplog):
    with caplog.at_level(logging.WARNING):
        assert load_config("mini_lvis_softmax", ["SEED", "1", LR, "0.1", "SEED", "2"]).SEED == 2
        assert load_lazy_config("lazy/mini_lvis_eql", ["train.seed=1", "train.seed=2"]).train.seed == 2
    first, second = [record.getMessage() for record in caplog.records if "given 2 times" in record.getMessage()]
    assert ("SEED" in first, "train.seed" in second) == (True, True)
