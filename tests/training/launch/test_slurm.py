"""A real slurmctld and slurmd on this machine, with one node and two tasks.

Only with LT_DET_TEST_SLURM=1, because it starts daemons; needs SLURM (Debian: slurm-wlm) and root.
"""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from tests.helpers import REPOSITORY

BATCH_FILE = "tools/launch/slurm.sbatch"
TWO_TASKS = ("--nodes=1", "--ntasks-per-node=2", "--overcommit", "--cpus-per-task=1", "--gpus-per-node=0")
TOOL = "tests/helpers/launched.py"
PRINT_TASK = "tests/helpers/print_task.py"

pytestmark = pytest.mark.skipif(
    not os.environ.get("LT_DET_TEST_SLURM")
    or not all(map(shutil.which, ("slurmctld", "slurmd", "sbatch")))
    or os.getuid() != 0,
    reason="needs LT_DET_TEST_SLURM=1, SLURM and root",
)


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """A function that runs a SLURM command and returns its output."""
    folder, node = tmp_path_factory.mktemp("slurm"), socket.gethostname().split(".")[0]
    with socket.create_server(("", 0)) as one, socket.create_server(("", 0)) as two:
        ports = one.getsockname()[1], two.getsockname()[1]
    settings = f"""
ClusterName=test
SlurmctldHost={node}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
AuthType=auth/none
CredType=cred/none
StateSaveLocation={folder}
SlurmdSpoolDir={folder}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/affinity
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
NodeName={node} NodeAddr=127.0.0.1 CPUs={os.cpu_count()}
PartitionName=all Nodes=ALL Default=YES State=UP
"""
    (folder / "slurm.conf").write_text(settings)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "SLURM_CONF": f"{folder}/slurm.conf", "PATH": path, "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"], environment["PYTHONWARNINGS"] = str(REPOSITORY), "ignore"
    environment["SLURM_CPU_BIND"] = "none"  # a CPU may be busy

    def command(*words):
        result = subprocess.run(words, env=environment, cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
        assert result.returncode == 0, result.stderr
        return result.stdout

    with contextlib.ExitStack() as daemons:
        for name in ("slurmctld", "slurmd"):
            log = (folder / f"{name}.log").open("w")
            daemon = subprocess.Popen([name, "-D"], env=environment, stdout=log, stderr=log)
            daemons.callback(daemon.wait, 30)
            daemons.callback(daemon.terminate)
        wait_until(lambda: "idle" in subprocess.run(["sinfo"], env=environment, capture_output=True, text=True).stdout)
        yield command
        command("scancel", "--state=PENDING")
        command("scancel", "--state=RUNNING", "--signal=KILL")


def wait_until(condition):
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_srun(slurm):
    stdout = slurm("srun", "--ntasks", "2", "--overcommit", "python", TOOL, "print_process")
    assert sorted(stdout.splitlines()) == ["0/2 0/2 3", "1/2 1/2 3"]


@pytest.fixture
def data(tmp_path):
    """A tar file with one image, as STAGE takes it."""
    (tmp_path / "coco").mkdir()
    (tmp_path / "coco" / "1.jpg").write_bytes(b"image")
    with tarfile.open(tmp_path / "data.tar", "w") as tar:
        tar.add(tmp_path / "coco", "coco")
    return tmp_path / "data.tar"


def test_batch_file_saves_and_requeues(slurm, tmp_path, data):
    log, local = tmp_path / "log", tmp_path / "local"
    variables = f"--export=ALL,TOOL={TOOL},STAGE={data},TMPDIR={local}"
    printed = slurm("sbatch", *TWO_TASKS, f"--output={log}", variables, BATCH_FILE, "train", "0")
    job = printed.split()[-1]
    wait_until(lambda: log.exists() and "running" in log.read_text())
    assert (local / f"lt_det_{job}" / "coco" / "1.jpg").is_file()
    slurm("scancel", "--signal=USR1", job)  # what --signal=USR1@300 sends
    wait_until(lambda: "Restarts=1" in slurm("scontrol", "show", "job", job))
    assert not list(local.glob("lt_det_*"))
    text = log.read_text()
    (iteration,) = set(re.findall(r"process \d stopped at (\d+)", text))
    assert text.count(f"saved model_{int(iteration):07d}") == 1
    assert f"Exited with exit code {128 + signal.SIGUSR1}" in text


def test_batch_file_stages_once_per_node(slurm, tmp_path, data):
    log, local = tmp_path / "log", tmp_path / "local"
    variables = f"--export=ALL,TOOL={PRINT_TASK},STAGE={data},TMPDIR={local}"
    printed = slurm("sbatch", "--wait", *TWO_TASKS, f"--output={log}", variables, BATCH_FILE)
    staged = local / f"lt_det_{printed.split()[-1]}"
    assert log.read_text().count("Staged") == 1
    assert len(re.findall(f"CPUs, {staged}: coco/1.jpg", log.read_text())) == 2  # one line of each task
    assert not list(local.glob("lt_det_*"))


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two CPUs")
def test_batch_file_gives_a_task_its_cpus(slurm, tmp_path):
    """SLURM_EXACT: a step gets no more CPUs than it asks for, as on clusters where jobs run several steps."""
    log = tmp_path / "log"
    one = ("--nodes=1", "--ntasks-per-node=1", "--cpus-per-task=2", "--gpus-per-node=0")
    variables = f"--export=ALL,SLURM_EXACT=1,SLURM_CPU_BIND=cores,TOOL={PRINT_TASK},DETECTRON2_DATASETS={tmp_path}"
    slurm("sbatch", "--wait", *one, f"--output={log}", variables, BATCH_FILE)
    assert "2 CPUs" in log.read_text()
