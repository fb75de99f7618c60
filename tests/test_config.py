import inspect

import pytest
from detectron2.config import get_cfg

import lt_det
from lt_det.config import loss_hyperparameters
from lt_det.losses import EQL, LOSSES
from lt_det.training import load_config


@pytest.fixture
def cfg():
    cfg = get_cfg()
    lt_det.add_lt_config(cfg)
    return cfg


def test_keys_and_defaults_come_from_the_constructors(cfg):
    node = cfg.MODEL.LONG_TAIL.LOSS
    assert set(node) == {"NAME", *(name.upper() for name in LOSSES)}
    default = inspect.signature(EQL).parameters["prior_prob"].default
    assert {"FREQUENCY_THRESHOLD": None, "EXEMPT_BACKGROUND": True, "PRIOR_PROB": default} == node.EQL
    assert node.SOFTMAX == {}


def test_overrides_reach_the_loss(cfg):
    cfg.merge_from_list(["MODEL.LONG_TAIL.LOSS.NAME", "eql", "MODEL.LONG_TAIL.LOSS.EQL.FREQUENCY_THRESHOLD", "0.002"])
    assert loss_hyperparameters(cfg) == {"frequency_threshold": 0.002, "exempt_background": True, "prior_prob": 0.001}


def test_register_takes_any_name(cfg, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("DATASETS:\n  REGISTER:\n    mine.v1: {JSON: a.json, IMAGES: b}\n")
    cfg.merge_from_file(str(file))
    assert cfg.DATASETS.REGISTER["mine.v1"].JSON == "a.json"


def test_config_survives_dump_and_load(cfg, tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(cfg.dump())
    again = get_cfg()
    lt_det.add_lt_config(again)
    again.merge_from_file(str(file))
    for theirs, mine in ((again.MODEL.LONG_TAIL, cfg.MODEL.LONG_TAIL), (again.TEST, cfg.TEST)):
        assert theirs.dump() == mine.dump()


def test_a_start_in_words_is_overridden_by_a_number(tmp_path):
    file = tmp_path / "words.yaml"
    file.write_text(
        "MODEL: {LONG_TAIL: {REWEIGHTING: {START: first_lr_step}}}\nDATALOADER: {SAMPLER_START: first_lr_step}\n"
    )
    overrides = ["MODEL.LONG_TAIL.REWEIGHTING.START", "0.5", "DATALOADER.SAMPLER_START", "7"]
    cfg = load_config(str(file), overrides)
    assert (cfg.MODEL.LONG_TAIL.REWEIGHTING.START, cfg.DATALOADER.SAMPLER_START) == (0.5, 7)


def test_a_second_call_leaves_the_config_as_it_is(cfg):
    """A project may call it where its own helper has called it already."""
    cfg.MODEL.LONG_TAIL.LOSS.NAME = "eql"
    before = cfg.dump()
    lt_det.add_lt_config(cfg)
    assert cfg.dump() == before
