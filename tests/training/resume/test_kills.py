"""Trainings whose processes are really killed, at random moments, until they are finished nevertheless.

A few kills here; LT_DET_TEST_KILLS=50 kills that often, one process and one of two (pytest -s shows what was hit).
"""

import collections
import contextlib
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch

from lt_det.training import argument_parser, run
from lt_det.training.resume.checkpoint_folder import checkpoints_in, named_checkpoint
from tests.helpers import assert_same, free_port, logged_training
from tests.helpers.configs import RANDOM_TRAINING

PERIOD = 2
SCHEDULE = ["SOLVER.MAX_ITER", "16", "SOLVER.CHECKPOINT_PERIOD", str(PERIOD), "SOLVER.STEPS", "(12,)"]
SCHEDULE += ["SEED", "0", "DATALOADER.NUM_WORKERS", "1", "MODEL.ROI_BOX_HEAD.FC_DIM", "256"]


def take_part(config, output, world):
    """One process of a training, as torchrun starts it."""
    os.setsid()
    os.environ.update(world)
    output.mkdir(exist_ok=True)
    sys.stdout = sys.stderr = said = (output / "said.txt").open("a")
    os.dup2(said.fileno(), 2)  # torch's own messages
    words = ["--config", config, "--resume", "OUTPUT_DIR", output, *RANDOM_TRAINING, *SCHEDULE]
    sys.exit(run(logged_training.main, argument_parser().parse_args(list(map(str, words)))))


def start(config, output, size):
    """The processes of a training; forked, because a new interpreter takes seconds to start."""
    port = str(free_port())
    processes = []
    for rank in range(size):
        world = {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": size, "MASTER_PORT": port}
        world = {name: str(value) for name, value in world.items()} | {"MASTER_ADDR": "localhost"}
        work = (config, output, world if size > 1 else {})
        processes.append(multiprocessing.get_context("fork").Process(target=take_part, args=work))
        processes[-1].start()
    return processes


def end(processes):
    """Wait for them; torchrun kills those that outlive one that failed. Returns whether all have finished."""
    deadline = time.monotonic() + 300
    while any(process.is_alive() for process in processes):
        assert time.monotonic() < deadline
        if any(process.exitcode for process in processes):
            for process in processes:
                process.join(8)
                process.kill()
        time.sleep(0.02)
    return all(process.exitcode == 0 for process in processes)


def kill_one(processes, output, draw):
    """Once the training has come on, a process that trains or one that loads; says which it was."""
    before = logged_training.iterations(output)
    while all(process.is_alive() for process in processes) and logged_training.iterations(output) == before:
        time.sleep(0.01)
    time.sleep(draw.uniform(0, 0.8))
    trainer = draw.choice(processes)
    victim, name = trainer.pid, f"process {processes.index(trainer)}"
    if draw.random() < 0.33:
        found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(trainer.pid)], capture_output=True, text=True)
        if not found.stdout:
            return "nobody"
        victim, name = int(found.stdout.split()[0]), "loading process"
    if not trainer.is_alive():
        return "nobody"
    with contextlib.suppress(ProcessLookupError):
        os.kill(victim, signal.SIGKILL)
        return name
    return "nobody"


def check_what_is_left(output):
    """Checkpoints that are whole, and the last of them at most a period old; returns whether one is half written.

    A training that is killed between its first checkpoint and last_checkpoint is resumed from the former.
    """
    last = named_checkpoint(output) or next(iter(checkpoints_in(output)), None)
    saved = torch.load(last, weights_only=False)["iteration"] if last is not None else -1
    assert logged_training.iterations(output)[-1] - saved <= PERIOD
    for path in output.glob("model_*.pth"):
        torch.load(path, weights_only=False)
    return any(output.glob(".unfinished-*"))


@pytest.mark.parametrize(("size", "kills"), [(1, 3), (2, 1)])
def test_killed_until_it_is_finished(sixty_config, tmp_path, size, kills):
    kills = int(os.environ.get("LT_DET_TEST_KILLS", kills))
    undisturbed, output = tmp_path / "undisturbed", tmp_path / "killed"
    assert end(start(sixty_config, undisturbed, size))
    expected = torch.load(undisturbed / "model_final.pth", weights_only=False)
    draw, hit, trainings, half_written, began = random.Random(0), collections.Counter(), 0, 0, time.monotonic()
    while hit.total() < kills:
        trainings += 1
        shutil.rmtree(output, ignore_errors=True)
        finished = False
        while not finished:
            processes = start(sixty_config, output, size)
            name = kill_one(processes, output, draw) if hit.total() < kills else "nobody"
            finished = end(processes)
            assert finished or name != "nobody", (output / "said.txt").read_text()
            if not finished:
                hit[name] += 1
                half_written += check_what_is_left(output)
        assert_same(torch.load(output / "model_final.pth", weights_only=False), expected)
    seconds = time.monotonic() - began
    print(f"\n{dict(hit)} killed in {trainings} trainings, {half_written} while saving, {seconds:.0f} s")
