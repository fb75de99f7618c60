"""A Detectron2 project outside this repository with a trainer of its own, and what the docs name and list."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lt_det.bakeoff.bakeoff import DETECTOR
from lt_det.bakeoff.options import BakeoffOptions
from lt_det.cli.command_line import _parser
from lt_det.losses import LOSSES
from lt_det.training import load_config
from lt_det.training.launch.options import argument_parser
from tests.helpers import REPOSITORY, copy_of_sources

README = (REPOSITORY / "README.md").read_text()

TRAIN = """
import json, os, sys
from detectron2.data import MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from detectron2.engine import DefaultTrainer

train_json, val_json, images = sys.argv[1:]
register_coco_instances("my_train", {}, train_json, images)
register_coco_instances("my_val", {}, val_json, images)

# --- the README's first block of Python ---
README_SETUP
# --- and its second one ---
README_EVALUATOR

class Trainer(DefaultTrainer):
    @classmethod
    def build_evaluator(cls, cfg, name, folder=None):
        return LongTailEvaluator.from_config(cfg, name)

os.makedirs(cfg.OUTPUT_DIR, exist_ok=True)
trainer = Trainer(cfg)
trainer.resume_or_load(resume=False)
trainer.train()
predictor = trainer.model.roi_heads.box_predictor
print(json.dumps({
    "where": lt_det.__file__,
    "head": type(trainer.model.roi_heads).__name__,
    "loss": type(predictor.loss).__name__,
    "tail": int(predictor.loss.is_tail.sum()),
    "iterations": trainer.iter,
    "metrics": trainer._last_eval_results["bbox"],
}))
"""

CONFIG = """
MODEL:
  META_ARCHITECTURE: GeneralizedRCNN
  DEVICE: cpu
  WEIGHTS: ""
  PIXEL_STD: [64.0, 64.0, 64.0]
  BACKBONE: {NAME: build_resnet_backbone}
  RESNETS: {DEPTH: 18, RES2_OUT_CHANNELS: 64, NORM: BN, OUT_FEATURES: [res4]}
  ANCHOR_GENERATOR: {SIZES: [[32]]}
  RPN: {IN_FEATURES: [res4], POST_NMS_TOPK_TEST: 20, POST_NMS_TOPK_TRAIN: 100}
  ROI_BOX_HEAD: {NAME: FastRCNNConvFCHead, NUM_FC: 1, FC_DIM: 32, POOLER_RESOLUTION: 7}
INPUT: {MIN_SIZE_TRAIN: [96], MIN_SIZE_TEST: 96}
DATASETS: {TRAIN: [my_train], TEST: [my_val]}
DATALOADER: {NUM_WORKERS: 0}
SOLVER: {IMS_PER_BATCH: 2, MAX_ITER: 1}
OUTPUT_DIR: out
"""


def blocks(language, start="## Use it in your project"):
    section = README.split(start)[1].split("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)


@pytest.mark.slow
def test_project_outside_the_repository(mini, tmp_path):
    site, project = tmp_path / "site", tmp_path / "project"
    project.mkdir()
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    copy = copy_of_sources(tmp_path / "lt_det_sources")
    subprocess.run([*install, "--target", str(site), str(copy)], check=True)
    assert (site / "lt_det" / "py.typed").is_file()

    setup, evaluator, from_files = blocks("python")
    (heads,) = blocks("yaml")

    def merged(base, extra):
        return {**base, **{k: merged(base.get(k, {}), v) if isinstance(v, dict) else v for k, v in extra.items()}}

    config = merged(yaml.safe_load(CONFIG), yaml.safe_load(heads))
    config["MODEL"]["ROI_HEADS"] |= {"NUM_CLASSES": 12, "IN_FEATURES": ["res4"]}
    (project / "my_config.yaml").write_text(yaml.safe_dump(config))
    (project / "train.py").write_text(TRAIN.replace("README_SETUP", setup).replace("README_EVALUATOR", evaluator))
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "train.py", str(mini.train_json), str(mini.val_json), str(mini.image_root)],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    said = json.loads(result.stdout.splitlines()[-1])
    assert said["where"].startswith(str(site))
    assert (said["head"], said["loss"]) == ("LongTailROIHeads", "EQLLoss")
    assert said["tail"] > 0
    assert said["iterations"] == 1
    assert {"AP", "APr", "APc", "APf"} <= set(said["metrics"])
    inference = project / "out" / "inference" / "my_val"
    assert (inference / "evaluation.json").is_file()

    files = {"train.json": mini.train_json, "val.json": mini.val_json}
    files["results.json"] = inference / "instances_predictions.json"
    for name, file in files.items():
        (project / name).write_bytes(file.read_bytes())
    result = subprocess.run(
        [sys.executable, "-c", from_files],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert "rare" in result.stdout, result.stderr


def anchors(page):
    """The fragments that GitHub gives the headings of a Markdown page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    "page",
    ["README.md", "CHANGELOG.md", "CONTRIBUTING.md"]
    + [str(p.relative_to(REPOSITORY)) for folder in ("docs", "zoo") for p in (REPOSITORY / folder).rglob("*.md")],
)
def test_links_and_configs_of_a_page_exist(page):
    text = (REPOSITORY / page).read_text()
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not target.startswith("http"):
            path, _, fragment = target.partition("#")
            file = (REPOSITORY / page).parent / path if path else REPOSITORY / page
            assert file.exists(), target
            assert not fragment or fragment in anchors(file), target
    for config in re.findall(r"(?<![\w/])configs/[\w./]+\.(?:yaml|py)", text):
        assert (REPOSITORY / config).is_file(), config


def test_no_file_has_the_marks_of_a_merge_conflict():
    marks = ["git", "grep", "-nE", "^(<{7}|>{7}) "]
    found = subprocess.run(marks, cwd=REPOSITORY, capture_output=True, text=True)
    if found.returncode == 128:
        pytest.skip("not a git repository")
    assert not found.stdout


def test_every_config_is_in_the_docs():
    text = README + "".join(page.read_text() for page in (REPOSITORY / "docs").glob("*.md"))
    by_rule = {f"{data}_{name}.yaml" for data in ("lvis", "mini_lvis") for name in LOSSES}  # as docs/losses.md says
    for config in (REPOSITORY / "configs").glob("*.yaml"):
        assert config.name in by_rule or config.name in text, config.name
    assert all((REPOSITORY / "configs" / name).is_file() for name in by_rule)


def test_every_loss_and_key_is_in_the_docs():
    table = (REPOSITORY / "docs" / "losses.md").read_text()
    for name, loss in LOSSES.items():
        assert f"| [{name}](losses/{name}.md) |" in table, name
        text = (REPOSITORY / "docs" / "losses" / f"{name}.md").read_text()
        for part in ("When it helps", "On LVIS v1"):
            assert f"**{part}.**" in text, (name, part)
        for key in loss.hyperparameters():
            assert f"`{name.upper()}.{key.upper()}`" in text, (name, key)


def test_the_page_of_commands_has_each_in_the_order_of_the_help():
    rows = re.findall(r"^\| `lt-det ([\w-]+)", (REPOSITORY / "docs" / "commands.md").read_text(), re.MULTILINE)
    assert rows == re.findall(r"^ {4}([\w-]+)", _parser().format_help(), re.MULTILINE)


def test_commands_of_the_demo_fit_together():
    printed = subprocess.run(
        ["make", "-n", "demo", "VENV=venv"], cwd=REPOSITORY, check=True, capture_output=True, text=True
    ).stdout
    commands = [shlex.split(line) for line in printed.replace("\\\n", " ").splitlines() if "venv/bin/" in line]
    tools = [command[command.index("tools/train_net.py") + 1 :] for command in commands if "train_net" in str(command)]
    ours = [[word for word in command if "DATASETS=" not in word] for command in commands]
    of_lt_det = [_parser().parse_args(command[1:]) for command in ours if command[0] == "venv/bin/lt-det"]
    train, evaluate = map(argument_parser().parse_args, tools)
    generate, bakeoff, compare = of_lt_det

    cfg, shipped = load_config(train.config_file, train.opts), load_config(train.config_file, [])
    run, longer = cfg.OUTPUT_DIR, cfg.SOLVER.MAX_ITER / shipped.SOLVER.MAX_ITER
    assert longer > 1
    assert tuple(longer * step for step in shipped.SOLVER.STEPS) == cfg.SOLVER.STEPS
    assert cfg.SOLVER.IMS_PER_BATCH % train.num_processes == 0
    assert run != shipped.OUTPUT_DIR  # from which other configs start, with numbers that hold for its own schedule
    assert bakeoff.words == [run]
    detector = BakeoffOptions().folder(run) / DETECTOR
    assert Path(evaluate.config_file) == detector / "config.yaml"
    assert evaluate.eval_only
    assert compare.output_dirs == [Path(run), detector]
    assert str(generate.out).split("/")[0] == "datasets"
