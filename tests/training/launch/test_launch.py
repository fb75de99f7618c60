"""Real processes over gloo: started by lt_det, by torchrun, and with the variables that srun sets (test_slurm.py: by a
real srun)."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
from torch import distributed
from torch.distributed.run import get_args_parser

from lt_det.compat.torch_distributed import CAN_CHANGE_TIMEOUT
from lt_det.errors import LtDetError
from lt_det.training.launch import spawn
from lt_det.training.launch.env import ProcessInfo, first_host, process_from_environment
from lt_det.training.launch.launcher import run
from lt_det.training.launch.options import argument_parser
from lt_det.training.launch.rendezvous import wait_for_all
from tests.helpers import REPOSITORY, free_port

TOOL = str(REPOSITORY / "tests" / "helpers" / "launched.py")
PYTHON = (sys.executable, "-W", "ignore")
TWO = ("--num-processes", "2", "--dist-url", "auto")
SRUN = {
    "SLURM_JOB_ID": "1234",
    "SLURM_STEP_ID": "2",
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_STEP_TASKS_PER_NODE": "4(x2)",
    "SLURM_STEP_NODELIST": "gpu-a[03-05,9],login",
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
}
TORCHRUN = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4", "MASTER_ADDR": "a"}
TORCHRUN["MASTER_PORT"] = "29500"


def start(*command, **environment):
    return subprocess.Popen(
        command,
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process):
    stdout, stderr = process.communicate(timeout=300)
    return process.returncode, stdout, errors_in(stderr)


def errors_in(stderr):
    return [line for line in stderr.splitlines() if line.startswith("error")]


class TestEnvironment:
    def test_of_srun(self):
        process = process_from_environment(SRUN)
        assert process == ProcessInfo(5, 8, 1, 4, "gpu-a03", 15000 + (7 * 1234 + 2) % 16000)
        process = process_from_environment({**SRUN, "MASTER_ADDR": "head", "MASTER_PORT": "4000"})
        assert (process.master_addr, process.master_port) == ("head", 4000)

    def test_of_torchrun_also_inside_srun(self):
        process = ProcessInfo(5, 8, 1, 4, "a", 29500, store_is_running=True, restart_count="2")
        elastic = {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "2"}
        assert process_from_environment({**SRUN, **TORCHRUN, **elastic}) == process

    def test_of_a_shell(self):
        batch_shell = {"SLURM_JOB_ID": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NTASKS": "8"}
        assert process_from_environment(batch_shell) is None
        assert process_from_environment({**SRUN, "SLURM_STEP_NUM_TASKS": "1"}) is None  # srun --pty bash

    @pytest.mark.parametrize(
        ("nodes", "host"),
        [("a1", "a1"), ("b[2,4]", "b2"), ("r[1-2]n[03-04]-ib,a", "r1n03-ib"), ("x,y[1-2]", "x")],
    )
    def test_first_host(self, nodes, host):
        assert first_host(nodes) == host

    @pytest.mark.parametrize(
        ("environment", "match"),
        [
            ({**SRUN, "SLURM_STEP_TASKS_PER_NODE": "4,3"}, "4,3 tasks .*--ntasks-per-node"),
            ({**SRUN, "SLURM_STEP_NUM_TASKS": "abc"}, "SLURM_STEP_NUM_TASKS is 'abc'"),
            ({**SRUN, "SLURM_LOCALID": "2"}, "Process 5 of 8 has local rank 2 of 4"),  # cyclic
            ({"RANK": "0", "WORLD_SIZE": "2"}, "LOCAL_RANK"),  # Kubernetes: a rank for each machine
            ({**TORCHRUN, "MASTER_ADDR": ""}, "MASTER_ADDR"),
            ({**TORCHRUN, "MASTER_PORT": "http"}, "MASTER_PORT is 'http'"),
            ({**SRUN, "MASTER_PORT": "99999"}, "MASTER_PORT is 99999 .* 65535"),
        ],
    )
    def test_refused(self, environment, match):
        with pytest.raises(LtDetError, match=match):
            process_from_environment(environment)


@pytest.mark.parametrize(
    ("words", "environment", "match"),
    [
        (["--num-processes", "3"], TORCHRUN, r"4 processes .* 2 machines.* --num-processes is 3"),
        (["--num-gpus", "8"], SRUN, r"4 processes .* 2 machines.* --num-gpus is 8"),
        (["--num-gpus", "1000"], {}, "--num-gpus is 1000"),
        (["--num-gpus", "1", "--num-processes", "2"], {}, "not both"),
        (["--num-processes", "0"], {}, "--num-processes is 0"),
        (["--num-processes", "2", "--dist-url", "localhost:1"], {}, "--dist-url is 'localhost:1'"),
        (["--num-processes", "2", "--num-machines", "2"], {}, "--num-machines is 2, .*tcp://127.0.0.1"),
        (["--num-machines", "2", "--machine-rank", "2"], {}, "--machine-rank is 2"),
        (["--machine-rank", "1"], {}, "--machine-rank is 1, .*--num-machines is 1"),
        (["--machine-rank", "1"], {**TORCHRUN, "RANK": "2", "LOCAL_RANK": "2"}, "--machine-rank is 1, .* machine 0"),
        (["--training-timeout", "0"], {}, "--training-timeout is 0 minutes"),
        (["--training-timeout", "inf"], {}, "--training-timeout is inf minutes"),
        (["--start-timeout", "nan"], {}, "--start-timeout is nan minutes"),
    ],
)
def test_options_that_are_refused(words, environment, match, monkeypatch, capsys):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert run(pytest.fail, argument_parser().parse_args(words)) == 1
    (error,) = errors_in(capsys.readouterr().err)
    assert re.search(match, error)


def test_port_in_use(capsys):
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
        url = f"tcp://127.0.0.1:{port}"
        assert run(pytest.fail, argument_parser().parse_args(["--num-processes", "2", "--dist-url", url])) == 1
    (error,) = errors_in(capsys.readouterr().err)
    assert f"Port {port} of " in error
    assert "--dist-url" in error


@pytest.mark.skipif(not CAN_CHANGE_TIMEOUT, reason="this torch cannot change timeouts")
def test_evaluation_may_take_longer_than_a_training_step():
    code, stdout, errors = finish(start(*PYTHON, TOOL, *TWO, "--training-timeout", "0.05", "slow_evaluation"))
    assert sorted(stdout.splitlines()) == ["0/2 0/2 3", "1/2 1/2 3", "evaluated", "evaluated"]
    # then process 0 is as slow in training
    assert code == 1
    assert len(errors) == 1
    assert errors[0].startswith("error in process 1: ")
    assert "(Timed out waiting" in errors[0]


def test_torchrun():
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    code, stdout, errors = finish(start(*PYTHON, *torchrun, TOOL, "print_process"))
    assert (code, errors) == (0, [])
    assert sorted(stdout.splitlines()) == ["0/2 0/2 3", "1/2 1/2 3"]


@pytest.mark.skipif("--signals-to-handle" not in get_args_parser().format_help(), reason="torchrun lacks the option")
def test_torchrun_script_passes_sigusr1_on():
    """Otherwise it kills torchrun, and the processes continue."""
    place = {"HEAD": "localhost", "NODES": "1", "GPUS": "2", "PORT": str(free_port()), "TOOL": TOOL}
    place |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONWARNINGS": "ignore"}
    process = start("tools/launch/torchrun.sh", "train", "0", **place)
    assert process.stdout.readline() == "running\n"
    process.send_signal(signal.SIGUSR1)
    code, stdout, _ = finish(process)
    assert code == 1
    assert len(re.findall(r"process \d stopped at", stdout)) == 2
    assert stdout.count("saved model_") == 1


def srun_like(rank, port, *words, size=2):
    """Start a process with the variables that srun sets."""
    place = {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank), "SLURM_STEP_NUM_TASKS": str(size)}
    place |= {"SLURM_STEP_TASKS_PER_NODE": str(size), "SLURM_STEP_NODELIST": "localhost", "MASTER_PORT": str(port)}
    return start(*PYTHON, TOOL, *words, **{**SRUN, **place})


def test_variables_of_srun_and_a_bug():
    """Both processes connect; then only the one that fails prints its traceback."""
    port = free_port()
    processes = [srun_like(rank, port, "bug") for rank in range(2)]
    ends = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [1, 1]
    assert [stdout for stdout, _ in ends] == ["0/2 0/2 3\n", "1/2 1/2 3\n"]
    assert "Traceback" not in ends[0][1]
    assert errors_in(ends[0][1]) == []
    assert "ValueError: a bug of rank 1" in ends[1][1]


def test_rank_that_never_comes():
    """Process 0 reports that process 1 is missing; process 3 that nobody answers. Both end after --start-timeout."""
    without_1 = srun_like(0, free_port(), "--start-timeout", "0.05", "print_process")
    port = free_port()
    without_0 = srun_like(3, port, "--start-timeout", "0.05", "print_process", size=4)
    code, stdout, (error,) = finish(without_1)
    assert (code, stdout) == (1, "")
    assert re.match("error: Of 2 processes, 1 did not .*localhost:", error)
    stdout, stderr = without_0.communicate(timeout=300)
    assert (without_0.returncode, stdout) == (1, "")
    (error,) = stderr.splitlines()  # and no C++ frames of torch
    assert re.search(f"[Pp]rocess 3 .*localhost:{port} within 0.05 minutes", error)


def test_rendezvous_refuses_other_world_sizes_and_duplicate_ranks():
    store, second = distributed.HashStore(), timedelta(seconds=5)
    process = ProcessInfo(1, 2, 1, 2, "localhost", 1)
    store.add("process/0", 1)
    store.set("world_size/0", "4")
    with pytest.raises(LtDetError, match=r"Process 0 .* 4, process 1 .* 2"):
        wait_for_all(process, store, second)
    with pytest.raises(LtDetError, match=r"Two processes .* rank 1"):
        wait_for_all(process, store, second)


@pytest.mark.parametrize(
    ("what", "code", "match"),
    [
        ("mistake", 1, "error in process 1: no images here"),
        ("killed", 137, "error: Process 1 was killed by SIGKILL "),
    ],
)
def test_one_process_reports_why_all_end(what, code, match):
    process = start(*PYTHON, TOOL, *TWO, what)
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == code
    (error,) = errors_in(stderr)
    assert error.startswith(match)
    assert "Traceback" not in stderr
    wait_for_the_end_of(process.pid)


def wait_for_the_end_of(session):
    """Wait until no process of the session runs; in containers, those that have ended may stay as zombies."""
    deadline = time.monotonic() + 20
    states = ("ps", "-o", "stat=", "--sid", str(session))
    while any(not state.startswith(b"Z") for state in subprocess.run(states, capture_output=True).stdout.split()):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_processes_stop_together():
    """The parent gets a signal; both stop after the same iteration, and process 0 saves. Saving takes longer than the
    time that is left to processes once one has ended."""
    process = start(*PYTHON, TOOL, *TWO, "train", str(spawn._GRACE + 3))
    assert process.stdout.readline() == "running\n"
    process.send_signal(signal.SIGUSR1)
    stdout, stderr = process.communicate(timeout=300)
    assert process.returncode == 128 + signal.SIGUSR1, stderr
    stopped = sorted(re.findall(r"process (\d) stopped at (\d+)", stdout))
    (_, iteration), _ = stopped
    assert stopped == [("0", iteration), ("1", iteration)]
    assert stdout.count(f"saved model_{int(iteration):07d}") == 1
    assert stderr.count(f"Interrupted after iteration {iteration};") == 1


def test_ctrl_c_twice():
    """In a terminal, which signals the process group: the first saves, the second stops without waiting for it."""
    process = start(*PYTHON, TOOL, *TWO, "train", "100")
    assert process.stdout.readline() == "running\n"
    os.killpg(process.pid, signal.SIGINT)
    assert process.stdout.readline().startswith("saving model_")
    os.killpg(process.pid, signal.SIGINT)
    stdout, stderr = process.communicate(timeout=300)
    assert process.returncode == 128 + signal.SIGINT, stderr
    assert "saved model_" not in stdout
    assert "Traceback" not in stderr
    wait_for_the_end_of(process.pid)


SIGNAL_WHILE_STARTING = """
import os, signal, sys, time
from multiprocessing.context import SpawnProcess
from lt_det.training import argument_parser, run

start = SpawnProcess.start

def start_and_interrupt(process):
    start(process)
    os.kill(os.getpid(), signal.SIGINT)

def main(args):
    time.sleep(100)

if __name__ == "__main__":
    SpawnProcess.start = start_and_interrupt
    sys.exit(run(main, argument_parser().parse_args(["--num-processes", "2", "--dist-url", "auto"])))
"""


def test_ctrl_c_while_processes_are_started(tmp_path):
    """It reaches them; otherwise the parent would end, or wait, while they train."""
    script = tmp_path / "script.py"
    script.write_text(SIGNAL_WHILE_STARTING)
    process = start(*PYTHON, str(script))
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    wait_for_the_end_of(process.pid)


def test_processes_end_with_the_one_that_started_them():
    process = start(*PYTHON, TOOL, *TWO, "train", "0")
    assert process.stdout.readline() == "running\n"
    process.kill()
    process.wait()
    wait_for_the_end_of(process.pid)


@pytest.mark.parametrize(
    ("where", "saved", "match"),
    [
        ("evaluate_during_training", ["saving model_0000001", "saved model_0000001"], "Interrupted after iteration 1;"),
        ("evaluate_after_training", [], "Interrupted during the evaluation"),
    ],
)
def test_an_evaluation_is_interrupted(where, saved, match):
    """One process has finished its image and waits for the other, which needs ten more seconds for its own."""
    process = start(*PYTHON, TOOL, *TWO, where)
    assert {process.stdout.readline() for _ in range(2)} == {"process 0 begins\n", "process 1 begins\n"}
    process.send_signal(signal.SIGUSR1)
    stdout, stderr = process.communicate(timeout=300)
    assert process.returncode == 128 + signal.SIGUSR1, stderr
    lines = stdout.splitlines()
    resets = sorted(line for line in lines if "begins" in line)
    assert resets == ["process 0 begins", "process 1 begins"]  # to remove what the evaluators have written
    assert [line for line in lines if "begins" not in line] == saved
    assert stderr.count(match) == 1


def test_an_evaluation_by_another_hook_is_not_interrupted():
    """That hook would not catch the exception, and training would end without a checkpoint."""
    process = start(*PYTHON, TOOL, *TWO, "evaluate_by_another_hook")
    assert {process.stdout.readline() for _ in range(2)} == {"process 0 begins\n", "process 1 begins\n"}
    process.send_signal(signal.SIGUSR1)
    stdout, stderr = process.communicate(timeout=300)
    assert process.returncode == 128 + signal.SIGUSR1, stderr
    assert sorted(stdout.splitlines()) == ["evaluated", "evaluated", "saved model_0000001", "saving model_0000001"]
