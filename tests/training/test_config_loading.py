"""What a LazyConfig refuses: overrides of keys that it lacks, and an evaluator that is not lt_det's."""

from pathlib import Path

import pytest

from lt_det.errors import LtDetError
from lt_det.training import argument_parser, load_config, load_lazy_config, setup, setup_lazy

CONFIG = str(Path(__file__).resolve().parents[2] / "configs" / "lazy" / "mini_lvis_eql.py")


def test_home_and_variables_in_paths(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.setenv("SCRATCH", "/scratch")
    opts = ["OUTPUT_DIR", "$SCRATCH/out", "MODEL.WEIGHTS", "~/best.pth", "TEST.BUCKETS.MAP", "~/map.json"]
    cfg = load_config("mini_lvis_softmax", [*opts, "MODEL.LONG_TAIL.CLASS_STATS", "$SCRATCH/stats.json"])
    assert (cfg.OUTPUT_DIR, cfg.MODEL.WEIGHTS) == ("/scratch/out", "/home/someone/best.pth")
    assert (cfg.TEST.BUCKETS.MAP, cfg.MODEL.LONG_TAIL.CLASS_STATS) == ("/home/someone/map.json", "/scratch/stats.json")


@pytest.mark.parametrize(
    ("options", "is_named"), [(["--resume"], True), (["--resume", "--eval-only"], True), (["--eval-only"], False)]
)
def test_weights_that_resuming_ignores_are_named(tmp_path, caplog, options, is_named):
    words = ["OUTPUT_DIR", str(tmp_path), "MODEL.WEIGHTS", "best.pth", "MODEL.DEVICE", "abacus"]
    with pytest.raises(LtDetError, match="abacus"):
        setup(argument_parser().parse_args(["--config", "mini_lvis_softmax", *options, *words]))
    assert not caplog.text  # there is no checkpoint to resume
    (tmp_path / "model_0000009.pth").touch()
    with pytest.raises(LtDetError, match="abacus"):
        setup(argument_parser().parse_args(["--config", "mini_lvis_softmax", *options, *words]))
    assert ("best.pth is not loaded" in caplog.text) == is_named
    caplog.clear()
    words = [f"train.output_dir={tmp_path}", "train.init_checkpoint=best.pth", "train.device=abacus"]
    with pytest.raises(LtDetError, match="abacus"):
        setup_lazy(argument_parser().parse_args(["--config", CONFIG, *options, *words]))
    assert ("best.pth is not loaded" in caplog.text) == is_named


def test_evaluating_on_no_set():
    words = ["--eval-only", "MODEL.DEVICE", "cpu", "DATASETS.TEST", "()"]
    with pytest.raises(LtDetError, match=r"DATASETS\.TEST is empty"):
        setup(argument_parser().parse_args(["--config", "mini_lvis_softmax", *words]))


def test_keys_that_are_there_and_new_ones():
    words = ["train.max_iter=7", "dataloader.train.mapper.augmentations.0.max_size=99", "+train.new.key=[1,2]"]
    cfg = load_lazy_config(CONFIG, [*words, "++train.seed=3", "train.init_checkpoint='a b'"])
    assert (cfg.train.max_iter, cfg.dataloader.train.mapper.augmentations[0].max_size) == (7, 99)
    assert (cfg.train.new["key"], cfg.train.seed, cfg.train.init_checkpoint) == ([1, 2], 3, "a b")


@pytest.mark.parametrize(
    ("word", "complaint"),
    [
        ("train.max_itr=7", "has no train.max_itr; did you mean train.max_iter? If not, write +train.max_itr=... to"),
        ("trian.max_iter=7", "has no trian; did you mean train? If not, write +trian.max_iter=... to add it"),
        ("model.xyz=7", "has no model.xyz; correct it, or write +model.xyz=... to add it"),
        ("dataloader.train.mapper.augmentations.9.max_size=9", "has no dataloader.train.mapper.augmentations.9;"),
        ("train.max_iter.foo=2", "train.max_iter is 800 and has no key foo; correct train.max_iter.foo"),
        ("+train.max_iter.foo=2", "train.max_iter is not a config"),
        ("~train.seed", "~train.seed would delete train.seed, which Detectron2 cannot; change the config file"),
        ("train.seed 7", "write key=value"),
    ],
)
def test_refused(word, complaint):
    with pytest.raises(LtDetError) as error:
        load_lazy_config(CONFIG, [word])
    assert str(error.value).startswith("Override on the command line: ")
    assert complaint in str(error.value)
    assert "\n" not in str(error.value)


def set_up(config, tmp_path, *words):
    with pytest.raises(LtDetError) as error:
        setup_lazy(argument_parser().parse_args(["--config", str(config), f"train.output_dir={tmp_path}/out", *words]))
    assert not (tmp_path / "out").exists()
    return str(error.value)


def test_several_sets_to_evaluate(tmp_path):
    said = set_up(CONFIG, tmp_path, "dataloader.test.dataset.names=[mini_lvis_val]")
    assert said.startswith("dataloader.test.dataset.names is ['mini_lvis_val'], ")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("dataloader.evaluator = L(COCOEvaluator)(dataset_name='a')", "dataloader.evaluator is COCOEvaluator, and not"),
        ("del dataloader.evaluator", "dataloader.evaluator is None, and not LongTailEvaluator"),
    ],
)
def test_another_evaluator(tmp_path, change, complaint):
    (tmp_path / "other.py").write_text(f"""
from detectron2.config import LazyConfig, LazyCall as L
from detectron2.evaluation import COCOEvaluator
shipped = LazyConfig.load("{CONFIG}")
model, optimizer, lr_multiplier, train, dataloader = (
    shipped[k] for k in ("model", "optimizer", "lr_multiplier", "train", "dataloader")
)
{change}
""")
    said = set_up(tmp_path / "other.py", tmp_path)
    assert complaint in said
    assert "write dataloader.evaluator = L(LongTailEvaluator)(dataset_name=TEST_SET, stats=" in said


def test_a_training_script_is_no_lazy_config(tmp_path):
    script = tmp_path / "train.py"
    script.write_text("import argparse\nargparse.ArgumentParser().parse_args(['--no-such-option'])\n")
    with pytest.raises(LtDetError, match=r"train\.py ends the program .*no LazyConfig"):
        load_lazy_config(str(script))
