"""lt-det adjust on a small detector with random weights: the search, the files it writes, and mistakes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lt_det.cli import main
from lt_det.inference import adjustment_search
from lt_det.inference.adjustment_search import AdjustmentSearch
from lt_det.training import LongTailCheckpointer, LongTailTrainer, load_config
from tests.helpers import REPOSITORY, first_images
from tests.helpers.proposals import random_detector

CALIBRATION = "MODEL.LONG_TAIL.CALIBRATION"


@pytest.fixture(scope="module")
def config(mini, tmp_path_factory):
    """Evaluated on twelve images."""
    file = tmp_path_factory.mktemp("calibrated") / "config.yaml"
    data = first_images(mini.val_json, 12)
    twelve, empty = file.parent / "twelve.json", file.parent / "empty.json"
    twelve.write_text(json.dumps(data))
    empty.write_text(json.dumps({**data, "annotations": []}))
    sets = {"train": mini.train_json, "val": twelve, "held_out": twelve, "empty": empty}
    named = ", ".join(f"calibrate_{name}: {{JSON: {json}, IMAGES: {mini.image_root}}}" for name, json in sets.items())
    file.write_text(f"""
_BASE_: {REPOSITORY}/configs/mini_lvis_softmax.yaml
DATASETS:
  REGISTER: {{{named}}}
  TRAIN: ("calibrate_train",)
  TEST: ("calibrate_val",)
MODEL:
  ROI_HEADS: {{NUM_CLASSES: 12}}
  ROI_MASK_HEAD: {{NAME: MaskRCNNConvUpsampleHead, NUM_CONV: 1, CONV_DIM: 8}}
  LONG_TAIL: {{CALIBRATION: {{METHOD: norcal, VALUES: [0.5, 1.0]}}}}
DATALOADER: {{NUM_WORKERS: 0}}
TEST: {{DETECTIONS_PER_IMAGE: 50}}
""")
    return file


@pytest.fixture
def run(config, capsys):
    """The command with KEY VALUE overrides: its exit code, output and errors."""

    def command(*overrides):
        code = main(["adjust", "--config", str(config), *map(str, overrides)])
        return code, *capsys.readouterr()

    return command


@pytest.fixture(scope="module")
def weights(config, tmp_path_factory):
    return random_detector(config, tmp_path_factory.mktemp("weights")).MODEL.WEIGHTS


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_written_config_evaluates_the_chosen_value(run, weights, tmp_path):
    out = tmp_path / "out"
    code, printed, _ = run("MODEL.WEIGHTS", weights, "OUTPUT_DIR", out)
    assert code == 0
    assert names(out) == ["calibration.json", "class_stats.json", "config.yaml", "model_calibrated.pth"]
    record = json.loads((out / "calibration.json").read_text())
    assert (record["method"], record["data"], record["weights"]) == ("norcal", "calibrate_val", weights)
    assert [tried["value"] for tried in record["grid"]] == [0.0, 0.5, 1.0]
    found = {tried["value"]: tried["AP"] for tried in record["grid"]}
    assert len(set(found.values())) == 3  # the strength changes something
    assert found[record["chosen"]] == max(found.values()) > 0
    assert "APr" in printed
    assert f"Chosen by box AP: {record['chosen']:g}, AP " in printed

    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    tool = [sys.executable, "-W", "ignore", REPOSITORY / "tools" / "train_net.py", "--eval-only"]
    evaluated = subprocess.run(
        [*tool, "--config", out / "config.yaml", "TEST.RESAMPLES", "0"], env=environment, capture_output=True, text=True
    )
    assert evaluated.returncode == 0, evaluated.stderr
    evaluation = json.loads((out / "inference" / "calibrate_val" / "evaluation.json").read_text())
    chosen = next(tried for tried in record["grid"] if tried["value"] == record["chosen"])
    assert {"value": record["chosen"], **evaluation["tasks"]["bbox"]["metrics"]} == chosen


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("tau_norm", ["MODEL.ROI_HEADS.NAME", "LongTailCascadeROIHeads"]),
        ("logit_adjustment", ["MODEL.MASK_ON", "True"]),
        ("norcal", ["MODEL.LONG_TAIL.LOSS.NAME", "seesaw"]),
    ],
)
def test_every_metric_is_that_of_its_checkpoint(run, config, tmp_path, method, options):
    """Several stages, masks, more columns; 1 is chosen, whatever its AP."""
    weights = random_detector(config, tmp_path, *options).MODEL.WEIGHTS
    options += ["MODEL.WEIGHTS", weights, f"{CALIBRATION}.METHOD", method, f"{CALIBRATION}.VALUES", "[1.0, 1.5]"]
    out = tmp_path / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AdjustmentSearch, "chosen", 1.0)
        code, _, err = run(*options, "OUTPUT_DIR", out)
    assert code == 0, err
    record = json.loads((out / "calibration.json").read_text())
    untouched, tried, _ = record["grid"]
    assert tried["AP"] != untouched["AP"]
    for row, checkpoint in ((tried, out / "model_calibrated.pth"), (untouched, weights)):
        cfg = load_config(str(out / "config.yaml"), ["MODEL.WEIGHTS", str(checkpoint), "TEST.RESAMPLES", "0"])
        metrics = LongTailTrainer.evaluate(cfg)["bbox"]
        assert metrics["AP"] == row["AP"]
        assert metrics["APc"] == row["APc"]
    assert set(torch.load(out / "model_calibrated.pth")) == {"model", "long_tail_box_heads", "long_tail_second_stage"}


def test_a_separate_data_set_gives_no_warning(run, weights, tmp_path, caplog):
    options = ["MODEL.WEIGHTS", weights, f"{CALIBRATION}.VALUES", "[1.0]", "OUTPUT_DIR", tmp_path / "out"]
    assert run(*options, f"{CALIBRATION}.DATA", "calibrate_held_out")[0] == 0
    assert json.loads((tmp_path / "out" / "calibration.json").read_text())["data"] == "calibrate_held_out"
    assert "DATASETS.TEST" not in caplog.text
    assert run(*options)[0] == 0  # replaces the files of the earlier search
    assert "calibrate_val is in DATASETS.TEST" in caplog.text


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([f"{CALIBRATION}.METHOD", ""], "METHOD is ''; write one of tau_norm, norcal, logit_adjustment."),
        ([f"{CALIBRATION}.VALUES", "[-0.5]"], "VALUES are [-0.5]; write numbers of at least 0, not all of them 0."),
        ([f"{CALIBRATION}.VALUES", "[0.0]"], "VALUES are [0.0]; write numbers"),
        ([f"{CALIBRATION}.VALUES", "['a']"], "VALUES is ['a']"),
        ([f"{CALIBRATION}.DATA", "gone"], "The dataset 'gone' is not registered"),
        ([f"{CALIBRATION}.DATA", "calibrate_empty"], "'calibrate_empty' has no annotations"),
        (["DATASETS.TEST", "()"], "set MODEL.LONG_TAIL.CALIBRATION.DATA."),
        (["MODEL.WEIGHTS", "gone.pth"], "The weights gone.pth cannot be loaded (Checkpoint gone.pth not found!)"),
        (["MODEL.WEIGHTS", ""], "No weights are given"),
        (["MODEL.ROI_HEADS.NAME", "StandardROIHeads"], "has no lt_det box head to adjust; set"),
        (["MODEL.LONG_TAIL.LOSS.NAME", "eql"], "was trained with softmax on Linear, but the config says eql"),
        (["MODEL.LONG_TAIL.CLASS_STATS", "gone.json"], "gone.json does not exist"),
    ],
)
def test_mistake_is_one_sentence_and_writes_nothing(run, weights, tmp_path, overrides, message):
    code, printed, err = run("MODEL.WEIGHTS", weights, "OUTPUT_DIR", tmp_path / "out", *overrides)
    assert (code, printed) == (1, "")
    assert message in err
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1
    assert not list(tmp_path.glob("out/*.pth"))
    assert not (tmp_path / "out" / "calibration.json").exists()


def test_a_set_without_annotations_is_refused_before_anything_is_evaluated(run, weights, tmp_path, monkeypatch):
    monkeypatch.setattr(adjustment_search, "_evaluate", lambda *_: pytest.fail("was evaluated"))
    options = ["MODEL.WEIGHTS", weights, "OUTPUT_DIR", tmp_path / "out", f"{CALIBRATION}.DATA", "calibrate_empty"]
    assert "'calibrate_empty' has no annotations" in run(*options)[2]


def test_the_alias_works_and_torch_warnings_are_hidden(config, weights, tmp_path):
    command = [
        "-m",
        "lt_det.cli",
        "calibrate",  # the old name of the command
        "--config",
        config,
        "MODEL.WEIGHTS",
        weights,
        "OUTPUT_DIR",
        tmp_path,
    ]
    result = subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "meshgrid" not in result.stderr
    assert "_symbolic_trace" not in result.stderr


def test_the_folder_of_the_weights_or_of_a_training_is_refused(run, weights, tmp_path):
    assert (
        "is the folder of a training or of the weights"
        in run("MODEL.WEIGHTS", weights, "OUTPUT_DIR", Path(weights).parent)[2]
    )
    (tmp_path / "last_checkpoint").write_text("model_0000009.pth")
    (tmp_path / "config.yaml").write_text("precious")
    assert run("MODEL.WEIGHTS", weights, "OUTPUT_DIR", tmp_path)[0] == 1
    assert (tmp_path / "config.yaml").read_text() == "precious"


def test_an_interruption_while_writing_leaves_nothing(run, weights, tmp_path, monkeypatch):
    save = LongTailCheckpointer.save

    def interrupted(checkpointer, name):
        save(checkpointer, name)
        raise KeyboardInterrupt

    monkeypatch.setattr(LongTailCheckpointer, "save", interrupted)
    code, _, err = run("MODEL.WEIGHTS", weights, "OUTPUT_DIR", tmp_path / "out", f"{CALIBRATION}.VALUES", "[1.0]")
    assert (code, err) == (130, "Interrupted.\n")
    assert names(tmp_path / "out") == ["class_stats.json"]
