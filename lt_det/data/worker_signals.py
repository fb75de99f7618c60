"""How the workers of a data loader react to the signals that end a training."""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

from torch.utils.data import DataLoader

_POLL = 1.0  # seconds between two checks of the parent


def end_only_with_parent(loader: DataLoader[Any]) -> None:
    """Keep a loader's workers alive until the training has saved its checkpoint, whatever signal they get before.

    Ctrl-C in a terminal and SLURM signal all processes of a training, workers included, and without workers the
    training cannot finish its iteration. A worker ends when its parent terminates it or is gone.
    """
    if hasattr(signal, "sigtimedwait"):  # not on macOS
        loader.worker_init_fn = functools.partial(_start, loader.worker_init_fn)


def _start(initialize: Callable[[int], None] | None, worker: int) -> None:
    if initialize is not None:
        initialize(worker)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    # torch and Python terminate workers with SIGTERM, too; if it were ignored, the end of a training would hang.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_end_with, args=(multiprocessing.parent_process(),), daemon=True).start()


def _end_with(parent: Any) -> None:
    """End when the parent sends SIGTERM or is gone.

    Neither check is enough alone. The parent's process id changes when the parent is killed, but not if that happened
    before the first check, or if it is that of a "forkserver"; and `parent.is_alive` sees a closed pipe, which another
    worker may hold open.
    """
    parent_id = os.getppid()
    while os.getppid() == parent_id and parent.is_alive():
        received = signal.sigtimedwait({signal.SIGTERM}, _POLL)
        if received is not None and received.si_pid == parent.pid:
            break
    os._exit(0)
