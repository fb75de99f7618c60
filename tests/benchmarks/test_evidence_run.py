"""benchmarks/evidence/run.py with a small mini_lvis: what it keeps and reports, and that it goes on when killed."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from benchmarks.evidence import rows, run
from benchmarks.evidence.jobs import add_missing_draws
from benchmarks.evidence.plan import Job
from tests.helpers import REPOSITORY

PLAN = """
datasets:
  mini_lvis: {num_train: 400, num_val: 40, num_classes: 12}
rows:
  softmax: {set: {SOLVER.WARMUP_ITERS: 2}}
  broken: {config: configs/mini_lvis_softmax.yaml, set: {MODEL.LONG_TAIL.LOSS.NAME: none_such}}
blocks:
  - {rows: [broken, softmax], iterations: [ITERATIONS]}
"""
ITERATIONS = 10  # fewer cannot have both steps of the learning rate


@pytest.fixture
def folder(tmp_path, mini):
    """A folder with a plan, and a working folder that has the dataset already."""
    options = {"num_train": 400, "num_val": 40, "num_classes": 12}
    datasets = tmp_path / "work" / "datasets" / "mini_lvis"
    datasets.mkdir(parents=True)
    (datasets / "mini_lvis").symlink_to(mini.image_root)
    (datasets / "options.json").write_text(json.dumps(options))
    return tmp_path


def words(folder, iterations=ITERATIONS):
    plan = folder / "plan.yaml"
    plan.write_text(PLAN.replace("ITERATIONS", str(iterations)))
    return [str(plan), "--work", str(folder / "work"), "--results", str(folder / "results")]


@pytest.fixture
def call(folder, monkeypatch, capsys):
    """Call the runner in this process and return its exit code and output."""
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setattr(rows, "RESULTS", rows.RESULTS)  # restored after the test
    previous = {signum: signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)}

    def call(*options):
        code = run.main([*words(folder), *options])
        return code, capsys.readouterr().out

    yield call
    for signum, handler in previous.items():
        signal.signal(signum, handler)


def test_a_failure_is_reported_and_the_others_go_on(folder, call):
    code, output = call("--list")
    assert code == 0
    assert "not run" in output
    assert "0 of 2 jobs are done" in output

    code, output = call()
    assert code == 1
    assert "trainings/broken_10_seed0 FAILED: exit code 1" in output
    assert "none_such" in output  # the training's own message
    (result,) = (folder / "results" / "trainings").glob("*.json")
    row = json.loads(result.read_text())
    trained = folder / "work" / "trainings" / "softmax_10_seed0"
    boxes = json.loads((trained / "inference/mini_lvis_val/evaluation.json").read_text())["tasks"]["bbox"]
    assert {name: boxes["metrics"][name] for name in row["metrics"]} == row["metrics"]
    assert row["class_ap"] == pytest.approx(boxes["class_ap"], abs=0.005)
    assert max(row["class_images"]) == 200
    assert (row["iterations"], row["seed"], row["threads"]) == (10, 0, 1)
    assert row["seconds"] > 0
    draws = json.loads((folder / "results" / "draws" / "trainings" / "softmax_10_seed0.json").read_text())
    assert draws["images"] == boxes["resamples"]["images"]
    assert draws["APr"] == pytest.approx(boxes["resamples"]["values"]["APr"], abs=0.005)

    assert [file.name for file in trained.glob("*.pth")] == ["model_final.pth"]

    written = result.stat().st_mtime_ns
    code, output = call("--only", "trainings/softmax_*")
    assert (code, output) == (0, "")
    assert result.stat().st_mtime_ns == written
    assert "1 of 2 jobs are done" in call("--list")[1]


def test_a_training_that_is_run_again_keeps_its_result(tmp_path, monkeypatch):
    """It adds the draws that an old result lacks, but only those of the same metrics."""
    monkeypatch.setattr(rows, "RESULTS", tmp_path / "results")
    job = Job("trainings/softmax_10_seed0", "softmax", "mini_lvis", 0, "", (), 10)
    rows.write_row("trainings", "softmax_10_seed0", {"metrics": {"AP": 12.5}})
    evaluation = tmp_path / "work" / job.name / "inference" / "mini_lvis_val" / "evaluation.json"
    evaluation.parent.mkdir(parents=True)
    draws = {"seed": 0, "images": "a", "values": {"AP": [12.004, None], "AP50": [1.0, 2.0]}}
    for ap, same in ((12.0, False), (12.5, True)):
        boxes = {"metrics": {"AP": ap, "ARs": 1.0}, "resamples": draws}
        evaluation.write_text(json.dumps({"tasks": {"bbox": boxes}}))
        assert add_missing_draws(job, tmp_path / "work") is same
        kept = {"seed": 0, "images": "a", "AP": [12.0, None]} if same else None
        assert rows.read_row("draws/trainings", "softmax_10_seed0") == kept
    assert job.result() == {"metrics": {"AP": 12.5}}


def start(folder, iterations, **options):
    command = [sys.executable, "-m", "benchmarks.evidence.run", *words(folder, iterations), "--only", "*softmax*"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen(
        command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
    )


@pytest.mark.long
def test_an_interrupted_training_goes_on_and_ends_as_if_it_had_not_been(folder):
    """A training that SIGTERM stops is saved, and one that is killed goes on as far as it was saved."""
    iterations = 30
    process = start(folder, iterations)
    trained = folder / "work" / "trainings" / f"softmax_{iterations}_seed0"
    _wait_for(trained / "output.txt", "Starting training")
    process.send_signal(signal.SIGTERM)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 130, output
    assert "interrupted" in output
    assert list(trained.glob("model_*.pth"))
    assert not (folder / "results").exists()

    process = start(folder, iterations, start_new_session=True)
    output = process.communicate(timeout=600)[0]
    assert process.returncode == 0, output
    result = folder / "results" / "trainings" / f"softmax_{iterations}_seed0.json"
    interrupted = json.loads(result.read_text())
    result.unlink()
    assert "Starting training from iteration 0" in (trained / "output.txt").read_text()
    assert (trained / "output.txt").read_text().count("Starting training from iteration") == 2

    trained.rename(folder / "first")
    process = start(folder, iterations)
    output = process.communicate(timeout=600)[0]
    assert process.returncode == 0, output
    whole = json.loads(result.read_text())
    assert interrupted["metrics"] == whole["metrics"]
    assert interrupted["class_ap"] == whole["class_ap"]


def _wait_for(log, text):
    deadline = time.monotonic() + 300
    while not (log.is_file() and text in log.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.2)
