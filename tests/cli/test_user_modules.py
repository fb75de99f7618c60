"""`lt-det --import`: a project's own loss, backbone, config keys and datasets in the commands, in every process."""

import json
import os
import subprocess
import sys

import pytest

from lt_det import user_modules
from lt_det.cli import main
from lt_det.errors import LtDetError
from lt_det.training import argument_parser, load_config
from lt_det.training import run as run_training
from lt_det.training.launch.single_process import run_single_process
from lt_det.user_modules import VARIABLE
from tests.helpers import REPOSITORY

PROJECT = """
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.data.datasets import load_coco_json
from detectron2.modeling import BACKBONE_REGISTRY
import lt_det
from lt_det.losses import SoftmaxCrossEntropyLoss, register_loss
from lt_det.modeling.backbones.mini import build_mini_backbone


@register_loss("theirs")
class Theirs(SoftmaxCrossEntropyLoss):
    def __init__(self, num_classes, *, strength: float = 1.0):
        super().__init__(num_classes)
        self.strength = strength


@lt_det.register_config_keys
def add_their_keys(cfg):
    cfg.MODEL.THEIR_BACKBONE = CfgNode({"DEPTH": 1})


@BACKBONE_REGISTRY.register()
def build_their_backbone(cfg, shape):
    assert cfg.MODEL.THEIR_BACKBONE.DEPTH == 2
    return build_mini_backbone(cfg, shape)


for part in ("train", "val"):
    name, file = f"their_{part}", f"MINI/mini_lvis_{part}.json"
    DatasetCatalog.register(name, lambda name=name, file=file: load_coco_json(file, "MINI", name))
"""
CONFIG = """
_BASE_: lt_det://mini_lvis_softmax
MODEL:
  BACKBONE: {NAME: build_their_backbone}
  THEIR_BACKBONE: {DEPTH: 2}
  ROI_HEADS: {NUM_CLASSES: 12}
  LONG_TAIL: {LOSS: {NAME: theirs, THEIRS: {STRENGTH: 2.0}}}
DATASETS: {TRAIN: [their_train], TEST: [their_val]}
DATALOADER: {NUM_WORKERS: 0}
SOLVER: {MAX_ITER: 4, STEPS: [2], CHECKPOINT_PERIOD: 4}
TEST: {RESAMPLES: 0}
OUTPUT_DIR: trained
"""
BAKEOFF = ["--candidates", "list.yaml", "--seeds", "1", "--folds", "2", "--steps", "20", "--num-processes", "2"]


@pytest.fixture
def project(mini, tmp_path, monkeypatch):
    """The working directory, with a module of a user and a config."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "their_project.py").write_text(PROJECT.replace("MINI", str(mini.image_root)))
    (tmp_path / "config.yaml").write_text(CONFIG)
    (tmp_path / "list.yaml").write_text("candidates: [{loss: theirs, learning_rates: [0.05]}, {loss: seesaw}]\n")
    yield tmp_path
    for name in ("broken", "first_module", "second_module"):
        sys.modules.pop(name, None)


def lt_det(*words, **environment):
    command = [sys.executable, "-m", "lt_det.cli", *words]
    variables = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_project_trains_and_has_a_bakeoff(project):
    trained = lt_det("--import", "their_project", "train", "--config", "config.yaml", "--num-processes", "2")
    assert trained.returncode == 0, trained.stderr
    result = lt_det("--import=their_project", "bakeoff", "trained", *BAKEOFF)
    assert result.returncode == 0, result.stderr
    found = json.loads((project / "trained" / "bakeoff" / "bakeoff.json").read_text())
    assert [one["failed"] for one in found["candidates"]] == [None] * 4
    evaluation = ["train", "--config", "trained/bakeoff/detector/config.yaml", "--eval-only"]
    assert lt_det(*evaluation, **{VARIABLE: "their_project"}).returncode == 0
    without = lt_det("diagnose", "trained")
    assert without.returncode == 1
    assert "lt-det --import MODULE" in without.stderr
    assert "Traceback" not in without.stderr


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("mine.py", "", "module: mine."),
        ("absent", "", "There is no module 'absent'"),
        ("broken.part", "", "There is no module 'broken.part'"),
        ("broken", "import absent_package", "'absent_package'"),
        ("broken", "x = 1 / 0", "broken.py line 1"),
        ("broken", "def f(:", "SyntaxError"),
    ],
)
def test_mistakes(project, capsys, name, content, complaint):
    (project / "broken.py").write_text(content)
    assert main(["--import", name, "strip-weights", "old.pth", "new.pth"]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert complaint in line


def test_options_before_the_command(project, capsys):
    for name in ("first_module", "second_module"):
        (project / f"{name}.py").write_text(f"print({name!r})")
    options = ["--import", "first_module", "--traceback", "--import=second_module"]
    with pytest.raises(SystemExit):
        main([*options, "train", "--help"])
    out = capsys.readouterr().out
    assert out.startswith("first_module\nsecond_module\n")
    assert "lt-det train" in out


@pytest.mark.parametrize("run", [run_single_process, run_training])
def test_the_scripts_in_tools(project, monkeypatch, run):
    (project / "first_module.py").write_text("")
    monkeypatch.setenv(VARIABLE, "first_module")
    found = []
    args = argument_parser().parse_args(["--config", "config.yaml"])
    assert run(lambda args: found.append("first_module" in sys.modules), args) == 0
    assert found == [True]


def test_keys_that_cannot_be_added(monkeypatch):
    monkeypatch.setattr(user_modules, "_add_keys", [])

    @user_modules.register_config_keys
    def add_their_keys(cfg):
        cfg.NO.KEY = 1

    with pytest.raises(LtDetError, match="add_their_keys of register_config_keys"):
        load_config(str(REPOSITORY / "configs" / "mini_lvis_softmax.yaml"))
