"""The lock of a folder: between real processes, killed ones, requeued SLURM jobs, and without locks."""

import errno
import fcntl
import json
import multiprocessing
import os
import signal
import subprocess
import sys

import pytest

from lt_det.errors import LtDetError
from lt_det.io import lock
from lt_det.io.lock import FolderLock, file_lock, folder_lock

HOLD = """
import os, sys, time
from pathlib import Path
from lt_det.io.lock import FolderLock
held = FolderLock(Path(sys.argv[1]), "training")
held.acquire()
child = os.fork() if sys.argv[2] == "fork" else 1
if child == 0:
    time.sleep(60)
print(child, flush=True)
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(lock, "_PATIENCE", 0.3)
    for name in ("SLURM_JOB_ID", "SLURM_RESTART_COUNT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def holder(tmp_path):
    """A function that starts a process which holds the lock; returns the process and the id of its child."""
    started = []

    def start(kind="alone", **environment):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(tmp_path), kind],
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process, int(process.stdout.readline())

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_the_holder_is_named(tmp_path, holder):
    process, _ = holder(SLURM_JOB_ID="77")
    host = os.uname().nodename
    with pytest.raises(LtDetError) as raised, folder_lock(tmp_path, "bake-off"):
        pass
    for part in ("training", f"process {process.pid} on {host}", "SLURM job 77", str(tmp_path), ".lock"):
        assert part in str(raised.value)
    process.terminate()
    process.wait()
    with folder_lock(tmp_path, "bake-off"):
        assert json.loads((tmp_path / ".lock").read_text())["what"] == "bake-off"
    assert (tmp_path / ".lock").read_text() == ""


def test_a_killed_process_leaves_no_lock_even_if_its_worker_lives_on(tmp_path, holder):
    process, worker = holder("fork")
    process.send_signal(signal.SIGKILL)
    process.wait()
    try:
        with folder_lock(tmp_path, "training"):
            pass
    finally:
        os.kill(worker, signal.SIGKILL)


def test_a_forked_worker_does_not_release_the_lock(tmp_path):
    with folder_lock(tmp_path, "training"):
        child = multiprocessing.get_context("fork").Process(target=print)
        child.start()
        child.join()
        with pytest.raises(LtDetError, match=f"process {os.getpid()}"), folder_lock(tmp_path, "training"):
            pass


@pytest.mark.parametrize(
    ("held_by", "here", "passes"),
    [
        ({"SLURM_JOB_ID": "7"}, {"SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": "1"}, True),
        ({"SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": "1"}, {"SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": "2"}, True),
        ({"SLURM_JOB_ID": "7"}, {"SLURM_JOB_ID": "7"}, False),  # twice in the shell of one job
        ({"SLURM_JOB_ID": "7"}, {"SLURM_JOB_ID": "8", "SLURM_RESTART_COUNT": "1"}, False),
        ({}, {"SLURM_RESTART_COUNT": "1"}, False),
    ],
)
def test_a_requeued_job_passes(tmp_path, holder, monkeypatch, caplog, held_by, here, passes):
    holder(**held_by)
    for name, value in here.items():
        monkeypatch.setenv(name, value)
    if passes:
        with folder_lock(tmp_path, "training"):
            assert json.loads((tmp_path / ".lock").read_text())["pid"] == str(os.getpid())
        assert "SLURM job" in caplog.text
    else:
        with pytest.raises(LtDetError, match="Another training"), folder_lock(tmp_path, "training"):
            pass


def test_a_requeued_job_on_another_host_passes(tmp_path, holder, monkeypatch):
    holder(SLURM_JOB_ID="7")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setattr(lock.socket, "gethostname", lambda: "elsewhere")
    with folder_lock(tmp_path, "training"):
        pass


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_gets_one_warning(tmp_path, monkeypatch, caplog, code):
    def refuse(file, operation):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    for _ in range(3):
        with folder_lock(tmp_path, "training"):
            pass
    (warning,) = [record.getMessage() for record in caplog.records]
    assert str(tmp_path) in warning


def test_what_is_no_file_is_not_opened(tmp_path):
    target = tmp_path / "target"
    target.write_text("kept")
    (tmp_path / ".lock").symlink_to(target)
    with pytest.raises(LtDetError, match="lock of a training"):
        FolderLock(tmp_path, "training").acquire()
    assert target.read_text() == "kept"
    (tmp_path / ".lock").unlink()
    os.mkfifo(tmp_path / ".lock")
    with pytest.raises(LtDetError, match="no regular file"):
        FolderLock(tmp_path, "training").acquire()


def test_damaged_content_is_no_error(tmp_path, holder):
    holder()
    (tmp_path / ".lock").write_bytes(b"\xff\x00[1")
    with pytest.raises(LtDetError, match=f"Another training is running in {tmp_path}"):
        FolderLock(tmp_path, "training").acquire()


def test_waiting(tmp_path):
    context = multiprocessing.get_context("fork")
    held, waits, noted = context.Event(), context.Event(), context.SimpleQueue()

    def work():
        held.wait(60)
        with file_lock(tmp_path / "lock", waits.set):
            noted.put("other")

    process = context.Process(target=work)  # before the lock is taken, which it would inherit
    process.start()
    with file_lock(tmp_path / "lock", waits.clear):
        held.set()
        assert waits.wait(60)
        noted.put("first")
    process.join(60)
    assert [noted.get(), noted.get()] == ["first", "other"]


def test_a_lock_that_is_waited_for_is_no_link(tmp_path):
    (tmp_path / "victim").write_text("kept")
    (tmp_path / "lock").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="is a link"), file_lock(tmp_path / "lock", print):
        pass
    assert (tmp_path / "victim").read_text() == "kept"
