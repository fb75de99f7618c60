"""Processes that load data end with the process that started them."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from torch.utils.data import DataLoader

from lt_det.data.worker_signals import end_only_with_parent

# The parent is killed while the loading process still starts: asked only then, its parent is already another.
KILLED_EARLY = """
import os, signal, sys, time
from torch.utils.data import DataLoader
from lt_det.data.worker_signals import end_only_with_parent

parent = os.getpid()

def begin(worker):
    print(os.getpid(), flush=True)
    os.kill(parent, signal.SIGKILL)
    while os.getppid() == parent:
        time.sleep(0.01)

loader = DataLoader(range(4), num_workers=1, worker_init_fn=begin)
end_only_with_parent(loader)
next(iter(loader))
"""


def test_a_parent_that_was_killed_before_they_began(tmp_path):
    with (tmp_path / "pid").open("w") as output:
        subprocess.run([sys.executable, "-c", KILLED_EARLY], stdout=output, timeout=300)
    worker = Path("/proc", (tmp_path / "pid").read_text().strip())
    assert worker.name.isdigit()
    deadline = time.monotonic() + 30
    while worker.exists() and "\nState:\tZ" not in (worker / "status").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize("started", ["fork", "forkserver", "spawn"])
def test_they_live_however_they_were_started(started):
    """The process above that of a "forkserver" is not the one that uses it."""
    loader = DataLoader(range(6), num_workers=1, multiprocessing_context=started)
    end_only_with_parent(loader)
    assert [int(number) for number in loader] == list(range(6))
