"""Commands that the scripts of tools/launch run (tests/training/launch/test_slurm.py: by a real SLURM)."""

import importlib.util
import os
import re
import runpy
import signal
import subprocess
import sys
import types
from pathlib import Path

import pytest

from lt_det.errors import LtDetError

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


def test_staged_data_are_removed_before_the_job_is_requeued(tmp_path):
    """After that, SLURM starts no step of this job."""
    log = tmp_path / "log"
    for name, code in (("srun", 'case "$*" in *train_net.py*) exit 138;; esac'), ("scontrol", "")):
        (tmp_path / name).write_text(f'#!/bin/sh\necho {name} "$@" >> {log}\n{code}\n')
        (tmp_path / name).chmod(0o755)
    job = {"SLURM_JOB_ID": "7", "SLURM_NNODES": "1", "STAGE": "data.tar", "SLURM_TMPDIR": str(tmp_path)}
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", **job}
    result = subprocess.run(["bash", str(LAUNCH / "slurm.sbatch"), "--config", "a.yaml"], env=environment)
    assert result.returncode == 138
    steps = log.read_text().splitlines()
    assert f"rm -rf {tmp_path}/lt_det_7" in steps[-2]
    assert steps[-1] == "scontrol requeue 7"


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "tar file"])
def test_stage_copies_what_links_point_to(tmp_path, packed):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "1.jpg").write_bytes(b"image")
    source, target = tmp_path / "shared", tmp_path / "local" / "data"
    source.mkdir()
    (source / "coco").symlink_to(tmp_path / "images")
    if packed:  # as the script says
        subprocess.run(["tar", "-chf", tmp_path / "data.tar", "-C", source, "coco"], check=True)
        source = tmp_path / "data.tar"
    subprocess.run([LAUNCH / "stage.sh", source, target], check=True)
    assert (target / "coco" / "1.jpg").read_bytes() == b"image"
    assert not (target / "coco").is_symlink()
    assert target.stat().st_mode & 0o077 == 0


def test_stage_refuses_a_source_that_is_missing(tmp_path):
    command = [LAUNCH / "stage.sh", tmp_path / "missing.tar", tmp_path / "local"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 1
    assert f"{tmp_path}/missing.tar" in result.stderr


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


@pytest.fixture
def job(submit, monkeypatch):
    """A function that returns the parameters of the job that submit.py makes of its options."""
    made = {}

    def job(*options):
        monkeypatch.setattr(sys, "argv", ["submit.py", *options, "--", "--config", "a.yaml"])
        submit.main()
        return made

    def executor(folder):
        executor = types.SimpleNamespace(update_parameters=lambda **parameters: made.update(parameters))
        executor.submit = lambda training: types.SimpleNamespace(job_id="1")
        return executor

    submit.submitit.SlurmExecutor = executor
    return job


def test_submitted_tasks_get_their_cpus(job):
    parameters = job("--gpus", "8")
    assert parameters["cpus_per_task"] == 5
    assert parameters["setup"] == ["export SRUN_CPUS_PER_TASK=5"]
    assert (parameters["nodes"], parameters["ntasks_per_node"], parameters["gpus_per_node"]) == (1, 8, 8)
    assert job("--gpus", "8", "--cpus", "12")["setup"] == ["export SRUN_CPUS_PER_TASK=12"]


def test_without_gpus_the_cluster_decides_on_cpus(job):
    assert not {"cpus_per_task", "setup", "gpus_per_node"} & job("--gpus", "0", "--processes", "2").keys()


def test_submitted_job_has_the_options_of_sbatch(job):
    named = ("--account", "me", "--partition", "gpu", "--qos", "high", "--mem", "200G")
    parameters = job("--gpus", "8", *named, "--sbatch", "constraint=a100", "--sbatch", "exclusive")
    assert {"account": "me", "partition": "gpu", "qos": "high", "mem": "200G"}.items() <= parameters.items()
    assert parameters["additional_parameters"] == {"constraint": "a100", "exclusive": True}


@pytest.mark.parametrize("option", ["time=1", "signal=USR1@10", "gpus_per_node=2", "--exclusive", "=x", "constraint="])
def test_sbatch_options_that_break_the_job_are_refused(job, option):
    with pytest.raises(LtDetError, match=re.escape(option)):
        job("--gpus", "8", f"--sbatch={option}")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--gpus", "0"), "--processes"),
        (("--gpus", "-1"), "-1"),
        (("--gpus", "1", "--hours", "nan"), "nan"),
        (("--gpus", "1", "--hours", "0.001"), "0.001"),  # rounded to 0 minutes, which SLURM takes as no limit
        (("--gpus", "1", "--tool", "train.py"), "train.py"),
    ],
)
def test_jobs_that_could_not_train_are_not_submitted(job, options, named):
    with pytest.raises(LtDetError, match=named):
        job(*options)


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
