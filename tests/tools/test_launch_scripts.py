"""Commands that the scripts of tools/launch run (tests/training/launch/test_slurm.py: by a real SLURM)."""

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
def tool_arguments(tmp_path):
    """A function that runs a shell script of tools/launch and returns the arguments that the tool would get.

    `python` and `srun` are replaced by a script that prints its arguments.
    """
    for name in ("python", "srun"):
        (tmp_path / name).write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
        (tmp_path / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "HEAD": "a", "NODES": "2", "GPUS": "8"}

    def tool_arguments(script, *words):
        command = ["bash", str(LAUNCH / script), *words]
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        printed = result.stdout.splitlines()
        return printed[printed.index("tools/train_net.py") + 1 :]

    return tool_arguments


@pytest.mark.parametrize("script", ["torchrun.sh", "slurm.sbatch"])
def test_eval_only_is_not_resumed(tool_arguments, script):
    assert tool_arguments(script, "--config", "a b.yaml") == ["--resume", "--config", "a b.yaml"]
    assert tool_arguments(script, *EVAL_ONLY) == EVAL_ONLY


@pytest.fixture
def submit(monkeypatch):
    """tools/launch/submit.py; its signal handlers are removed after the test."""
    monkeypatch.setitem(sys.modules, "submitit", types.ModuleType("submitit"))
    spec = importlib.util.spec_from_file_location("submit", LAUNCH / "submit.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    before = {signum: signal.getsignal(signum) for signum in (signal.SIGUSR1, signal.SIGUSR2)}
    yield module
    for signum, handler in before.items():
        signal.signal(signum, handler)


def test_submitted_eval_only_is_not_resumed(submit, monkeypatch):
    monkeypatch.setattr(runpy, "run_path", lambda path, run_name: None)
    monkeypatch.setattr(sys, "argv", [])
    for words, expected in ((["A", "b"], ["--resume", "A", "b"]), (EVAL_ONLY, EVAL_ONLY)):
        submit.Training("train_net.py", words)()
        assert sys.argv == ["train_net.py", *expected]


def test_submitted_job_is_requeued_whenever_it_is_stopped(submit, monkeypatch):
    """During training by its exit code, once the checkpoint is saved; before and after, by submitit's own handler."""
    done = []

    def train(path, run_name):
        os.kill(os.getpid(), signal.SIGUSR2)
        assert done == ["requeued"]
        signal.signal(signal.SIGUSR1, lambda *_: done.append("saved"))
        os.kill(os.getpid(), signal.SIGUSR2)
        assert done == ["requeued", "saved"]
        sys.exit(128 + signal.SIGUSR1)

    monkeypatch.setattr(runpy, "run_path", train)
    monkeypatch.setattr(sys, "argv", [])
    signal.signal(signal.SIGUSR2, lambda *_: done.append("requeued"))
    with pytest.raises(SystemExit):
        submit.Training("train_net.py", [])()
    assert done == ["requeued", "saved", "requeued"]
