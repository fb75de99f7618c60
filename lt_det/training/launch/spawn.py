"""The processes of one machine, started and watched by this one."""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import connection, resource_tracker
from types import FrameType
from typing import Any

from torch import distributed

from lt_det.errors import INTERRUPTED
from lt_det.training.launch.env import World
from lt_det.training.launch.worker import may_speak, take_part
from lt_det.training.preemption import STOP_SIGNALS

_GRACE = 10.0  # seconds from the end of one process to that of all, for a checkpoint that is half written

_Process = multiprocessing.context.SpawnProcess


def spawn(
    main: Callable[[argparse.Namespace], Any],
    args: argparse.Namespace,
    worlds: Sequence[World],
    store: distributed.Store | None,
) -> int:
    """Run `main(args)` in a process for each of `worlds` and return the exit code of the first that fails.

    Args:
        main: importable by the new processes.
        args: passed on.
        worlds: of the processes on this machine.
        store: where the processes meet, if this process opened it.
    """
    context = multiprocessing.get_context("spawn")
    # With DataLoader workers of their own they cannot be daemons.
    processes = {world.rank: context.Process(target=_child, args=(main, args, world)) for world in worlds}
    with _passing_signals_on(processes.values()) as asked:
        return _wait(processes, asked, store)


def _start(processes: Collection[_Process]) -> None:
    """With signals blocked, as they inherit it: one that is passed on waits until the new process can answer it."""
    resource_tracker.ensure_running()  # the first start would begin it, and that unblocks SIGINT and SIGTERM
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    for process in processes:
        process.start()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)


def _wait(processes: dict[int, _Process], asked: set[int], store: distributed.Store | None) -> int:
    """Wait for all; once one has failed, end the rest. Returns the exit code of the first that failed."""
    code, deadline = 0, math.inf
    running = dict(processes)
    while running:
        left = None if deadline == math.inf else max(0.0, deadline - time.monotonic())
        connection.wait([process.sentinel for process in running.values()], left)
        for rank, process in list(running.items()):
            process.join(0)
            if process.exitcode is None:
                continue
            del running[rank]
            if process.exitcode < 0 and -process.exitcode not in asked:
                _tell_of_kill(rank, -process.exitcode, store)
            if process.exitcode:
                code = code or (process.exitcode if process.exitcode > 0 else 128 - process.exitcode)
                deadline = min(deadline, time.monotonic() + _GRACE)
        if time.monotonic() > deadline:
            for process in running.values():
                process.kill()
                process.join()
            break
    return code


def _tell_of_kill(rank: int, signum: int, store: distributed.Store | None) -> None:
    """Only its parent can tell why such a process ended."""
    may_speak(store)
    name = signal.Signals(signum).name
    memory = " (out of memory, perhaps)" if name == "SIGKILL" else ""
    print(
        f"error: Process {rank} was killed by {name}{memory}; all processes end. Go on with --resume.", file=sys.stderr
    )


@contextmanager
def _passing_signals_on(processes: Collection[_Process]) -> Iterator[set[int]]:
    """Start the processes, pass what this one is asked to do on to them, and yield the set of signals that came.

    Those that come before all are started are passed on then. To block them would not do: another thread of this
    process, as the store has, takes them.
    """
    asked: set[int] = set()
    started = False

    def pass_on(signum: int, frame: FrameType | None) -> None:
        asked.add(signum)
        for process in processes if started else ():
            if process.is_alive() and process.pid:
                os.kill(process.pid, signum)

    previous = {signum: signal.signal(signum, pass_on) for signum in STOP_SIGNALS}
    try:
        _start(processes)
        started = True
        for signum in sorted(asked):
            pass_on(signum, None)
        yield asked
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)


def _child(main: Callable[[argparse.Namespace], Any], args: argparse.Namespace, world: World) -> None:
    os.setpgrp()  # Ctrl-C in a terminal then reaches the parent alone, which passes it on
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    sys.exit(take_part(main, args, world))


def _end_with_parent() -> None:
    """Nobody would end these processes once it is gone."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
