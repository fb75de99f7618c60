"""Training runs that get the signals of a terminal and of SLURM, save, and stop."""

import contextlib
import os
import re
import signal
import subprocess
import time

from lt_det.training.preemption import StopOnInterrupt
from tests.helpers.logged_training import iterations, start

LONG = ("SOLVER.MAX_ITER", "5000", "SOLVER.IMS_PER_BATCH", "4", "INPUT.MIN_SIZE_TRAIN", "(48,)")
LONG += ("DATALOADER.NUM_WORKERS", "1")


def signal_all(process, signum):
    """Signal each process of the session: training processes, their DataLoader workers, and the launcher."""
    listed = subprocess.run(["ps", "-o", "pid=", "--sid", str(process.pid)], capture_output=True, text=True).stdout
    assert len(listed.split()) > 1
    for pid in listed.split():
        with contextlib.suppress(ProcessLookupError):  # ended by the signal that the launcher forwarded
            os.kill(int(pid), signum)


def wait_for_iteration(process, output, iteration):
    deadline = time.monotonic() + 300
    while iteration not in iterations(output):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def stopped_by(signum, config, output, *flags):
    """Signal all processes of a training run; returns its last iteration."""
    process = start(config, output, *flags, overrides=LONG)
    wait_for_iteration(process, output, 2)
    signal_all(process, signum)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 128 + signum, errors
    assert "Traceback" not in errors
    assert errors.count("Stopping after this iteration and saving") == 1
    (last,) = re.findall(r"^Interrupted after iteration (\d+);", errors, re.M)
    assert (output / "last_checkpoint").read_text() == f"model_{int(last):07d}.pth"
    return int(last)


def assert_resumes_after(last, config, output, *flags):
    process = start(config, output, *flags, "--resume", overrides=(*LONG, "SOLVER.MAX_ITER", str(last + 2)))
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert iterations(output)[-2:] == [last - 1, last + 1]  # the stopped iteration is not logged


def test_ctrl_c(sixty_config, tmp_path):
    last = stopped_by(signal.SIGINT, sixty_config, tmp_path)
    assert_resumes_after(last, sixty_config, tmp_path)


def test_sigterm_to_all_processes_as_slurm_sends_it(sixty_config, tmp_path):
    two = ("--num-processes", "2", "--dist-url", "auto")
    last = stopped_by(signal.SIGTERM, sixty_config, tmp_path, *two)
    assert_resumes_after(last, sixty_config, tmp_path, *two)


def test_signal_during_the_handler_of_another(monkeypatch, capfd):
    """The signal of SLURM and the same one, forwarded by the launcher, arrive at nearly the same time."""
    write, again = os.write, [signal.SIGTERM, signal.SIGUSR1]

    def interrupted_write(descriptor, text):
        if again:
            os.kill(os.getpid(), again.pop())
        return write(descriptor, text)

    monkeypatch.setattr(os, "write", interrupted_write)
    hook = StopOnInterrupt(checkpointer=None)
    hook.before_train()
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        hook.after_train()
    assert capfd.readouterr().err == "\nStopping after this iteration and saving.\n"
