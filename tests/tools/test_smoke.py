"""tools/smoke.sh: its steps, its failures, and what it extrapolates."""

import importlib.util
import os
import re
import subprocess
import sys

import pytest

from tests.helpers import REPOSITORY

SMOKE = REPOSITORY / "tools" / "smoke.sh"

# In place of Python: no GPU, training stops by SIGUSR1; the step that $FAIL names exits with 3.
STEPS = """#!/usr/bin/env bash
if [[ $1 == -c ]]; then echo "${GPUS:-0}"; exit; fi
shift
echo "$*"
if [[ "$*" == $FAIL ]]; then exit 3; fi
if [[ $1 == train ]]; then exit 138; fi
"""


@pytest.fixture
def steps(tmp_path):
    """A function that runs smoke.sh with recorded steps, and returns its result."""
    python = tmp_path / "python"
    python.write_text(STEPS)
    python.chmod(0o755)

    def steps(*words, **variables):
        environment = {**os.environ, "PYTHON": str(python), "OUT": str(tmp_path / "out"), "FAIL": "", **variables}
        return subprocess.run([SMOKE, *words], env=environment, capture_output=True, text=True)

    return steps


def test_steps_without_a_gpu(steps, tmp_path):
    result = steps("--config", "a.yaml", "SOLVER.BASE_LR", "0.1", PROCESSES="2")
    assert result.returncode == 0
    launch, keys = "--num-processes 2 --dist-url auto", "SOLVER.BASE_LR 0.1 MODEL.DEVICE cpu"
    assert [line for line in result.stdout.splitlines() if line and not line.startswith("==")] == [
        f"train --config a.yaml {launch} {keys} OUTPUT_DIR {tmp_path}/out/training",
        f"train --config a.yaml {launch} --resume {keys} OUTPUT_DIR {tmp_path}/out/training",
        "select",
        f"evaluate --config {tmp_path}/out/evaluation.yaml {launch}",
        "extrapolate",
    ]


def test_all_gpus_are_used(steps):
    lines = steps("--config", "a.yaml", GPUS="8").stdout.splitlines()
    assert any("--num-gpus 8 --dist-url auto OUTPUT_DIR" in line for line in lines)


def test_python_without_torch(steps, tmp_path):
    (tmp_path / "none").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "none").chmod(0o755)
    result = steps("--config", "a.yaml", PYTHON=str(tmp_path / "none"))
    assert result.returncode == 1
    assert re.search(rf"^error: {tmp_path}/none .*PYTHON", result.stderr, re.MULTILINE)


@pytest.mark.parametrize("failing", ["train*training", "*--resume*", "select", "evaluate*", "extrapolate"])
def test_a_step_that_fails_ends_it(steps, failing):
    result = steps("--config", "a.yaml", FAIL=failing)
    assert result.returncode == 3
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert "exit code 3" in line


def test_a_training_that_does_not_stop_fails(steps, tmp_path):
    python = tmp_path / "python"
    python.write_text(STEPS.replace("exit 138", "exit 0"))
    assert steps("--config", "a.yaml").returncode == 1


@pytest.mark.parametrize("variables", [{"ITERATIONS": "1"}, {"ITERATIONS": "ten"}, {"IMAGES": "0"}])
def test_sizes_that_measure_nothing_are_refused(steps, variables):
    result = steps("--config", "a.yaml", **variables)
    assert result.returncode == 1
    ((name, value),) = variables.items()
    assert re.search(f"{name}( is)? {value}", result.stderr)


def test_files_of_an_earlier_one_are_refused(steps, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "smoke.md").write_text("")
    result = steps("--config", "a.yaml")
    assert result.returncode == 1
    assert f"{tmp_path}/out is not empty" in result.stderr


@pytest.fixture(scope="module")
def smoke():
    """tools/smoke.py."""
    spec = importlib.util.spec_from_file_location("smoke", REPOSITORY / "tools" / "smoke.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_whole_training_is_extrapolated(smoke):
    part = {"iterations": 20, "memory": 9e9, "processes": 8, "device": "a GPU", "max_iter": 180_000}
    part |= {"checkpoint_period": 5000, "eval_period": 60_000, "max_to_keep": None, "keeps_best": False}
    train, resumed = part | {"seconds_per_iteration": 0.3}, part | {"seconds_per_iteration": 0.4, "memory": 8e9}
    evaluation = {"images": 100, "inference": 6.0, "metrics": 3.0, "validation_loss": None, "bytes": 4_000_000}
    text = smoke.table(train, resumed, evaluation, 20_000, 300_000_000)
    for figure in (
        "40 iterations",
        "180000 iterations: 20 h",  # 0.4 s each
        "20000 images: 20 min",  # 6 s for 100
        "20000 images: at most 10 min",
        "3 evaluations: 21.5 h",
        "peak of 9 GB",
        "37 at a time: 11.1 GB",  # 36 numbered ones and model_final.pth
        "20000 images: at most 800 MB",
        "| disk |  | at most 11.9 GB |",
    ):
        assert figure in text
    assert "validation loss" not in text
    losses = smoke.table(train, resumed, evaluation | {"validation_loss": 9.0}, 20_000, 300_000_000)
    assert "| validation loss | 100 images: 9 s | 20000 images: 30 min |" in losses
    assert "3 evaluations: 23 h" in losses
    kept = smoke.table(train, resumed | {"max_to_keep": 3}, evaluation, 20_000, 300_000_000)
    assert "5 at a time: 1.5 GB" in kept  # 3, the next one, and model_final.pth
    best = smoke.table(train, resumed | {"keeps_best": True}, evaluation, 20_000, 300_000_000)
    assert "39 at a time: 11.7 GB" in best  # model_best.pth and the next one, too


@pytest.mark.long
def test_a_real_training(mini, datasets_root, tmp_path):
    variables = {"DETECTRON2_DATASETS": str(datasets_root), "OMP_NUM_THREADS": "1", "PROCESSES": "2"}
    variables |= {"PYTHON": sys.executable, "OUT": str(tmp_path / "out"), "ITERATIONS": "2", "IMAGES": "5"}
    keys = [
        "TEST.VAL_LOSS",
        "True",
        "SOLVER.IMS_PER_BATCH",
        "4",
        "MODEL.ROI_HEADS.NUM_CLASSES",
        "12",
        "DATALOADER.NUM_WORKERS",
        "0",
    ]
    command = [SMOKE, "--config", REPOSITORY / "configs" / "mini_lvis_eql.yaml", *keys]
    result = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    text = (tmp_path / "out" / "smoke.md").read_text()
    assert "4 iterations, with 2 processes on the CPU" in text
    assert re.search(r"^\| validation loss \| 5 images: [\d.]+ s", text, re.MULTILINE)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
