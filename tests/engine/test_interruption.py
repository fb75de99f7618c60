"""Real processes, really killed.

Random states are not restored on --resume, so a resumed run samples other anchors and proposals than an undisturbed
one. The comparison is possible where all of them are sampled; that the images are the same, test_image_stream.py sees.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
ITERATIONS, PERIOD = 14, 5


@pytest.fixture(scope="module")
def whole_set_config(mini, tmp_path_factory):
    """Eight images, batches of eight, nothing drawn at random."""
    folder = tmp_path_factory.mktemp("whole")
    data = json.loads(mini.train_json.read_text())
    data["images"] = data["images"][:8]
    kept = {image["id"] for image in data["images"]}
    data["annotations"] = [a for a in data["annotations"] if a["image_id"] in kept]
    (folder / "eight.json").write_text(json.dumps(data))
    (folder / "config.yaml").write_text(f"""
_BASE_: {REPOSITORY}/configs/mini_lvis_eql.yaml
DATASETS:
  REGISTER:
    eight: {{JSON: {folder}/eight.json, IMAGES: {mini.image_root}}}
  TRAIN: ("eight",)
  TEST: ()
MODEL:
  ROI_HEADS: {{NUM_CLASSES: 12, BATCH_SIZE_PER_IMAGE: 4096}}
  RPN: {{BATCH_SIZE_PER_IMAGE: 8192}}
DATALOADER: {{NUM_WORKERS: 0}}
SOLVER: {{MAX_ITER: {ITERATIONS}, CHECKPOINT_PERIOD: {PERIOD}, BASE_LR: 0.005, STEPS: [12], WARMUP_ITERS: 4}}
""")
    return folder / "config.yaml"


def start(config, output, *flags, overrides=()):
    command = [sys.executable, "-W", "ignore", str(Path(__file__).with_name("logged_training.py"))]
    return subprocess.Popen(
        [*command, "--config", str(config), *flags, "OUTPUT_DIR", str(output), *overrides],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def losses(output):
    lines = [json.loads(line) for line in (output / "losses.jsonl").read_text().splitlines()]
    return {line.pop("iteration"): line for line in lines}


def wait_for_iteration(process, output, iteration):
    deadline = time.monotonic() + 120
    while not (output / "losses.jsonl").exists() or max(losses(output), default=-1) < iteration:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def undisturbed(whole_set_config, tmp_path_factory):
    output = tmp_path_factory.mktemp("undisturbed")
    process = start(whole_set_config, output)
    _, errors = process.communicate(timeout=180)
    assert process.returncode == 0, errors
    return losses(output)


def test_sigkill_and_resume_follow_the_undisturbed_run(whole_set_config, undisturbed, tmp_path):
    process = start(whole_set_config, tmp_path)
    wait_for_iteration(process, tmp_path, PERIOD + 1)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000004.pth"
    before = losses(tmp_path)
    assert max(before) < ITERATIONS - 1  # it was killed in the middle
    (tmp_path / "losses.jsonl").unlink()

    process = start(whole_set_config, tmp_path, "--resume")
    _, errors = process.communicate(timeout=180)
    assert process.returncode == 0, errors
    after = losses(tmp_path)
    assert sorted(after) == list(range(PERIOD, ITERATIONS))
    for iteration, values in after.items():
        for name, value in values.items():
            assert value == pytest.approx(undisturbed[iteration][name], rel=1e-3), (iteration, name)
    # The comparison means something: losses move far more than that from one iteration to the next.
    assert undisturbed[ITERATIONS - 1]["total_loss"] < 0.9 * undisturbed[PERIOD]["total_loss"]


def interrupted_at(errors, output):
    said = re.findall(
        r"^Interrupted after iteration (\d+); the checkpoint is saved, go on with --resume\.$", errors, re.M
    )
    assert len(said) == 1, errors
    assert "Traceback" not in errors
    assert (output / "last_checkpoint").read_text() == f"model_{int(said[0]):07d}.pth"
    (output / "losses.jsonl").unlink()
    return int(said[0])


def test_ctrl_c_saves_and_says_how_to_go_on(whole_set_config, tmp_path):
    process = start(whole_set_config, tmp_path)
    wait_for_iteration(process, tmp_path, 2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    last = interrupted_at(errors, tmp_path)

    process = start(whole_set_config, tmp_path, "--resume")
    _, errors = process.communicate(timeout=180)
    assert process.returncode == 0, errors
    assert min(losses(tmp_path)) == last + 1


def test_sigterm_in_two_processes_saves_what_resume_goes_on_from(whole_set_config, tmp_path):
    two = ("--num-processes", "2", "--dist-url", "auto")
    overrides = ("DATALOADER.NUM_WORKERS", "1", "SOLVER.MAX_ITER", "60")
    process = start(whole_set_config, tmp_path, *two, overrides=overrides)
    wait_for_iteration(process, tmp_path, 1)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, errors
    last = interrupted_at(errors, tmp_path)

    process = start(whole_set_config, tmp_path, *two, "--resume", overrides=("SOLVER.MAX_ITER", str(last + 2)))
    _, errors = process.communicate(timeout=180)
    assert process.returncode == 0, errors
    assert sorted(losses(tmp_path)) == [last + 1]
