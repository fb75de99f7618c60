"""DataLoader workers and the signals that stop a training run."""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

from torch.utils.data import DataLoader

_POLL = 1.0  # seconds between two checks whether the parent is alive


def end_only_with_parent(loader: DataLoader[Any]) -> None:
    """Make a loader's workers ignore Ctrl-C, SIGUSR1 and SIGTERM unless they come from the training process.

    Ctrl-C in a terminal and SLURM signal all processes of a run, including the workers, without which training cannot
    finish its iteration and save. Workers end when the training process stops them or has died. Does nothing on macOS.
    """
    if hasattr(signal, "sigtimedwait"):
        loader.worker_init_fn = functools.partial(_init_worker, loader.worker_init_fn)


def _init_worker(user_init: Callable[[int], None] | None, worker: int) -> None:
    if user_init is not None:
        user_init(worker)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    # torch and Python end workers by SIGTERM, too: if it were ignored, the end of training would wait for them.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_exit_with, args=(multiprocessing.parent_process(),), daemon=True).start()


def _exit_with(parent: Any) -> None:
    """Exit once the parent sends SIGTERM or is dead.

    Two checks for its death, because neither always works. The parent pid changes, unless the parent died before this
    thread started, or the pid is that of a "forkserver". The parent's end of a pipe closes, unless another worker has
    inherited it.
    """
    parent_pid = os.getppid()
    while os.getppid() == parent_pid and parent.is_alive():
        received = signal.sigtimedwait({signal.SIGTERM}, _POLL)
        if received is not None and received.si_pid == parent.pid:
            break
    os._exit(0)
