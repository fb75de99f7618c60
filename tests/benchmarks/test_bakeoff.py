"""benchmarks/bakeoff.py with small sizes: every figure is printed."""

import dataclasses
import json
import re

import pytest

from benchmarks import bakeoff
from lt_det.losses import LOSSES
from tests.helpers import first_images
from tests.helpers.proposals import random_detector, write_config

MS = r"\d+\.\d ms"
RATIO = r"\d+\.\d\d"
HOURS = rf"{RATIO} h"


@pytest.fixture
def printed(capsys):
    """Run the benchmark and return what it prints."""

    def printed(*arguments):
        bakeoff.main(["--quick", *arguments])
        return capsys.readouterr().out

    return printed


def check(output, *patterns):
    """Assert that there is a line for each pattern, in this order, and that no figure is infinite or missing."""
    lines = output.splitlines()
    for pattern in patterns:
        while lines and not re.fullmatch(pattern.replace(" ", r"\s+"), lines[0]):
            del lines[0]
        assert lines, f"no line {pattern} in order in\n{output}"
    assert not re.search(r"\b(nan|inf)\b", output)


def test_every_figure_at_the_shape_of_lvis(printed):
    output = printed()
    rows = [rf"{re.escape(name)} {MS} {MS} {MS} {RATIO} {RATIO} \d+\.\d%" for name in LOSSES]
    check(
        output,
        *rows,
        rf"drawing a batch, features in memory {MS} \d+\.\d% of a step; the median step takes {MS}",
        rf"drawing a batch, features on disk {MS} \d+\.\d% of a step",
        rf"reading ahead, features on disk \d+\.\d s {RATIO} GB, {RATIO} GB/s",
        rf"preparing a training {RATIO} s 2,000 RoIs.*",
        rf"one measure on held-out images {RATIO} s \d+ RoIs",
        r"detections of one image \d+\.\d{3} s 50 proposals, \d+ of their scores.*",
        *3 * [rf"\w+, 7 x 3000 steps \(default\) {HOURS} {RATIO} with its evaluations"],
        *3 * [rf"\w+, 7 x 78125 steps \(each RoI once\) {HOURS} {RATIO} with its evaluations"],
        rf"evaluations {HOURS} 64,427 images",
        r"the default on a GPU, on paper \d+\.\d min .*",
        r"Assumed: 5,000,000 RoIs of 16 float16 features.*",
    )


def test_chosen_losses_and_sizes(printed):
    output = printed("--losses", "seesaw", "eql", "--rows", "600")
    assert re.findall(r"^(\w+) +[\d.]+ ms", output, flags=re.MULTILINE) == ["seesaw", "eql"]
    assert "600 x 16 float16" in output
    assert "600 RoIs" in output


def test_the_quick_list_by_stages(printed, mini, datasets_root, tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(datasets_root))
    few = mini.train_json.with_name("first_12_train.json")
    few.write_text(json.dumps(first_images(mini.train_json, 12)))
    config = write_config(dataclasses.replace(mini, train_json=few), tmp_path, 3)
    cfg = random_detector(config, tmp_path, "INPUT.MIN_SIZE_TRAIN", "(64,)", "INPUT.MIN_SIZE_TEST", 64)
    (tmp_path / "config.yaml").write_text(cfg.dump())  # as a training leaves it
    output = printed("--mini", str(datasets_root), cfg.MODEL.WEIGHTS, "--steps", "2")
    stages = ("features", "candidates", "writing", "diagnosis and page")
    check(output, *(rf"{stage} \d+\.\d s" for stage in stages), r"in all \d+\.\d s \d+ candidates, 2 steps, .*")
    assert "failed" not in output
