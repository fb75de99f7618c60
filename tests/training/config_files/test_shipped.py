"""Shipped configs by name: in --config, get_config and _BASE_."""

import pytest
from detectron2.config import CfgNode

import lt_det
from lt_det.errors import LtDetError
from lt_det.training import load_config
from lt_det.training.config_files.reading import read_config
from lt_det.training.config_files.shipped import config_path, shipped_config, shipped_names
from tests.helpers import REPOSITORY

CONFIGS = REPOSITORY / "configs"


def test_every_config_has_a_name():
    files = {CONFIGS / f"{name}{'.py' if name.startswith('lazy/') else '.yaml'}" for name in shipped_names()}
    assert files == {*CONFIGS.glob("**/*.yaml"), *CONFIGS.glob("lazy/*.py")}
    assert {shipped_config(name) for name in shipped_names()} == files


def test_get_config_is_the_config_of_the_file():
    cfg = lt_det.get_config("lvis_eql", ["SOLVER.BASE_LR", "0.5"])
    assert isinstance(cfg, CfgNode)
    assert (cfg.MODEL.LONG_TAIL.LOSS.NAME, cfg.MODEL.ROI_HEADS.NUM_CLASSES, cfg.SOLVER.BASE_LR) == ("eql", 1203, 0.5)
    assert lt_det.get_config("lvis_eql") == load_config(str(CONFIGS / "lvis_eql.yaml"))


def test_get_config_of_a_lazy_config():
    cfg = lt_det.get_config("lazy/mini_lvis_eql", ["train.max_iter=7"])
    assert cfg.train.max_iter == 7


def test_a_file_comes_before_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert config_path("lvis_eql") == str(CONFIGS / "lvis_eql.yaml")
    (tmp_path / "lvis_eql").mkdir()  # such as an output folder
    assert config_path("lvis_eql") == str(CONFIGS / "lvis_eql.yaml")
    (tmp_path / "lvis_eql").rmdir()
    (tmp_path / "lvis_eql").write_text("SEED: 1")
    assert config_path("lvis_eql") == "lvis_eql"
    assert load_config("lvis_eql").SEED == 1


@pytest.mark.parametrize("given", ["lvis_eqll", "configs/lvis_eqll.yaml", "lvis_eqll.yaml"])
def test_an_unknown_name_is_one_sentence_with_near_names(given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LtDetError, match=rf"{given} does not exist.*did you mean lvis_eql") as raised:
        load_config(given)
    assert "\n" not in str(raised.value)
    with pytest.raises(LtDetError, match=r"no config 'lvis_eqll'.*did you mean lvis_eql"):
        lt_det.get_config("lvis_eqll")


def test_a_name_like_none_shows_where_the_configs_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LtDetError, match=f"gone.yaml does not exist.*{CONFIGS}"):
        load_config("gone.yaml")


def test_a_config_can_have_a_shipped_base(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("_BASE_: lt_det://mini_lvis_eql\nSOLVER: {MAX_ITER: 7}")
    shipped = read_config(CONFIGS / "mini_lvis_eql.yaml")
    assert read_config(file) == {**shipped, "SOLVER": {**shipped["SOLVER"], "MAX_ITER": 7}}
    file.write_text("_BASE_: [lt_det://base/mini_lvis, lt_det://mini_lvis_eq]")
    with pytest.raises(LtDetError, match=r"mine\.yaml.*lt_det://mini_lvis_eq, .*did you mean mini_lvis_eql"):
        read_config(file)
