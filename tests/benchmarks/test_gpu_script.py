"""benchmarks/gpu.sh as a whole, in small, on the CPU, without the packages that the GPU machine may lack."""

import json
import os
import subprocess
import sys

import pytest

from tests.helpers import REPOSITORY

pytestmark = pytest.mark.slow

STAGES = ["losses", "step", "classes", "amp", "nccl", "resume", "evaluator", "train"]

# Packages that neither the measurement nor the parts of lt_det that it uses may need.
WITHOUT = ("cv2", "matplotlib", "onnx", "onnxruntime", "tensorboard", "pandas", "scipy", "pytest")
HIDE = f"""
import importlib.machinery

find = importlib.machinery.PathFinder.find_spec.__func__


def find_spec(cls, name, path=None, target=None):
    return None if name.split(".")[0] in {WITHOUT} else find(cls, name, path, target)


importlib.machinery.PathFinder.find_spec = classmethod(find_spec)
"""


@pytest.fixture
def run_script(datasets_root, tmp_path):
    """Run the script and return its completed process, figures by stage, and log."""
    (tmp_path / "hide").mkdir()
    (tmp_path / "hide" / "sitecustomize.py").write_text(HIDE)

    def run_script(*arguments, datasets=datasets_root):
        environment = {
            **os.environ,
            "PYTHON": sys.executable,
            "PYTHONPATH": str(tmp_path / "hide"),
            "OMP_NUM_THREADS": "1",
            "LT_DET_GPU_SMALL": "1",
            "CUDA_VISIBLE_DEVICES": "",
            "DETECTRON2_DATASETS": str(datasets),
            "OUT": str(tmp_path / "out"),
        }
        command = ["bash", str(REPOSITORY / "benchmarks" / "gpu.sh"), *arguments]
        process = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
        figures = {}
        for line in (tmp_path / "out" / "figures.jsonl").read_text().splitlines():
            row = json.loads(line)
            figures.setdefault(row.pop("stage"), {})[row.pop("case")] = row
        return process, figures, (tmp_path / "out" / "log.txt").read_text()

    return run_script


@pytest.mark.long
def test_every_stage_writes_its_figures(run_script, mini, tmp_path):
    process, figures, log = run_script(*STAGES)
    assert process.returncode == 0, log
    assert set(figures) == {"machine", "stages", *STAGES}
    assert {name: row["outcome"] for name, row in figures["stages"].items()} == dict.fromkeys(STAGES, "passed")

    machine = figures["machine"]["this machine"]
    assert machine["small"]
    assert all(machine[key] for key in ("card", "driver", "torch", "date", "commit"))

    for dtype in ("float32", "bfloat16", "float16"):
        assert figures["losses"][f"F.cross_entropy, {dtype}"]["time_ratio"] == 1
        assert figures["losses"][f"eql, {dtype}"]["finite"]
    assert [row["images"] for row in figures["step"].values()] == [1, 1, 1, 1]
    first, *_, again = figures["step"].values()
    assert first["first_loss_cls"] == again["first_loss_cls"]  # the same seed
    assert figures["step"]["lt_det, EQL"]["host_synchronizations"] <= first["host_synchronizations"]
    stock = figures["classes"]["Detectron2, softmax, 60 classes"]["host_synchronizations"]
    assert figures["classes"]["seesaw, 60 classes"]["host_synchronizations"] <= stock
    assert figures["classes"]["scores of both, 60 classes"]["largest_difference"] == 0
    assert list(figures["amp"]) == ["float32", "float16", "bfloat16"]
    assert figures["amp"]["float16"]["loss_scale"] > 1
    assert figures["nccl"]["collectives"]["backend"] == "gloo"
    assert figures["nccl"]["training"]["largest_difference"] == 0
    (resumed,) = figures["resume"].values()
    assert resumed["first_iteration"] == 3
    assert resumed["largest_difference"] == 0
    (evaluated,) = figures["evaluator"].values()
    assert evaluated["different_metrics"] == 0
    assert evaluated["bbox_ap"] > 10
    (trained,) = figures["train"].values()
    assert 0 <= trained["bbox_ap"] <= 100

    summary = (tmp_path / "out" / "summary.md").read_text()
    assert all(f"## {stage}" in summary for stage in ("machine", "stages", *STAGES))
    assert summary in process.stdout


@pytest.mark.long
def test_bakeoff_and_compilation(run_script, mini):
    process, figures, log = run_script("bakeoff", "compile")
    assert process.returncode == 0, log
    assert figures["bakeoff"]["as it is"]["bbox_ap"] == figures["bakeoff"]["as it is"]["detector_ap"]
    assert figures["bakeoff"]["retrained"]["seconds"] > 0
    assert figures["compile"]["eql"]["graphs"] == 1
    assert figures["compile"]["seesaw"]["graphs"] > 1


def test_all_stages_are_known():
    command = ["bash", str(REPOSITORY / "benchmarks" / "gpu.sh"), "--list"]
    answer = subprocess.run(command, env={**os.environ, "PYTHON": sys.executable}, capture_output=True, text=True)
    assert {line.split()[0] for line in answer.stdout.splitlines()} == {*STAGES, "bakeoff", "compile"}


def test_a_stage_that_fails_does_not_stop_the_others(run_script, tmp_path):
    (tmp_path / "mini_lvis").mkdir()
    (tmp_path / "mini_lvis" / "mini_lvis_val.json").write_text("{}")
    process, figures, log = run_script("evaluator", "losses", datasets=tmp_path)
    assert process.returncode == 1
    assert figures["stages"]["evaluator"]["outcome"] == "failed"
    assert figures["stages"]["losses"]["outcome"] == "passed"
    assert "Traceback" in log
    assert "mini_lvis_val.json" in log
    assert "evaluator" in process.stderr
    assert "losses" not in process.stderr
    assert "failed" in (tmp_path / "out" / "summary.md").read_text()


def test_a_stage_ends_at_its_time_limit(run_script):
    process, figures, _ = run_script("losses", "evaluator", "--seconds", "0.1")
    assert process.returncode == 1
    assert "timed out" in figures["stages"]["losses"]["outcome"]
    assert figures["stages"]["evaluator"]["outcome"] != "passed"


def test_unknown_stages_are_refused():
    command = ["bash", str(REPOSITORY / "benchmarks" / "gpu.sh"), "looses"]
    process = subprocess.run(command, env={**os.environ, "PYTHON": sys.executable}, capture_output=True, text=True)
    assert process.returncode == 2
    assert "looses" in process.stderr
