"""tools/launch: what the scripts run (by a real SLURM: tests/training/launch/test_slurm.py)."""

import importlib.util
import os
import runpy
import signal
import subprocess
import sys
import types
from pathlib import Path

import pytest

LAUNCH = Path(__file__).resolve().parents[2] / "tools" / "launch"
EVAL_ONLY = ["--config", "a b.yaml", "--eval-only", "MODEL.WEIGHTS", "x.pth"]


@pytest.fixture
def words_of(tmp_path):
    """The words behind the tool's name with which a script of the shell runs `python`, or `srun` and that."""
    for name in ("python", "srun"):
        (tmp_path / name).write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
        (tmp_path / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "HEAD": "a", "NODES": "2", "GPUS": "8"}

    def words_of(script, *words):
        command = ["bash", str(LAUNCH / script), *words]
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        printed = result.stdout.splitlines()
        return printed[printed.index("tools/train_net.py") + 1 :]

    return words_of


@pytest.mark.parametrize("script", ["torchrun.sh", "slurm.sbatch"])
def test_weights_that_are_to_be_judged_are(words_of, script):
    assert words_of(script, "--config", "a b.yaml") == ["--resume", "--config", "a b.yaml"]
    assert words_of(script, *EVAL_ONLY) == EVAL_ONLY


@pytest.fixture
def submit(monkeypatch):
    """tools/launch/submit.py, whose signal handlers do not stay."""
    monkeypatch.setitem(sys.modules, "submitit", types.ModuleType("submitit"))
    spec = importlib.util.spec_from_file_location("submit", LAUNCH / "submit.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    before = {signum: signal.getsignal(signum) for signum in (signal.SIGUSR1, signal.SIGUSR2)}
    yield module
    for signum, handler in before.items():
        signal.signal(signum, handler)


def test_submitted_weights_that_are_to_be_judged_are(submit, monkeypatch):
    monkeypatch.setattr(runpy, "run_path", lambda path, run_name: None)
    monkeypatch.setattr(sys, "argv", [])
    for words, expected in ((["A", "b"], ["--resume", "A", "b"]), (EVAL_ONLY, EVAL_ONLY)):
        submit.Training("train_net.py", words)()
        assert sys.argv == ["train_net.py", *expected]


def test_submitted_job_is_queued_again_whenever_it_is_stopped(submit, monkeypatch):
    """In training by its exit code, when the checkpoint is saved; before and after by submitit's own handler."""
    done = []

    def train(path, run_name):
        os.kill(os.getpid(), signal.SIGUSR2)
        assert done == ["queued again"]
        signal.signal(signal.SIGUSR1, lambda *_: done.append("saved"))
        os.kill(os.getpid(), signal.SIGUSR2)
        assert done == ["queued again", "saved"]
        sys.exit(128 + signal.SIGUSR1)

    monkeypatch.setattr(runpy, "run_path", train)
    monkeypatch.setattr(sys, "argv", [])
    signal.signal(signal.SIGUSR2, lambda *_: done.append("queued again"))
    with pytest.raises(SystemExit):
        submit.Training("train_net.py", [])()
    assert done == ["queued again", "saved", "queued again"]
