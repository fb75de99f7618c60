"""Processes that load data, and the signals that end a training."""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

from torch.utils.data import DataLoader

_LOOK = 1.0  # seconds between two looks at whether the parent lives


def end_only_with_parent(loader: DataLoader[Any]) -> None:
    """Let a loader's processes live until the training has saved its checkpoint, whoever signals them before.

    Ctrl-C in a terminal and SLURM signal all processes of a training, also these, and without them it cannot finish its
    iteration. They end when their parent says so, or is gone.
    """
    if hasattr(signal, "sigtimedwait"):  # not on macOS
        loader.worker_init_fn = functools.partial(_start, loader.worker_init_fn)


def _start(initialise: Callable[[int], None] | None, worker: int) -> None:
    if initialise is not None:
        initialise(worker)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    # SIGTERM is also how torch and Python end these processes: ignoring it would keep a training that ends waiting.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_end_with, args=(multiprocessing.parent_process(),), daemon=True).start()


def _end_with(parent: Any) -> None:
    """Two looks: the process above is another once the parent was killed, unless that was before this one asked, or
    above is the server of "forkserver"; the parent's end of a pipe is also closed then, unless a brother holds it."""
    above = os.getppid()
    while os.getppid() == above and parent.is_alive():
        received = signal.sigtimedwait({signal.SIGTERM}, _LOOK)
        if received is not None and received.si_pid == parent.pid:
            break
    os._exit(0)
