"""Start the processes of one machine (``--num-gpus``, ``--num-processes``), pass signals on, and wait for them.

Each process gets the variables that torchrun would set, and from there on behaves as under torchrun.

Why not torch's own `torch.distributed.launcher.api.elastic_launch`? Tried with torch 2.14.1 and 2.1.2:

- Ctrl-C reaches the processes twice, from the terminal and from the launcher, so that training stops at once instead of
  saving. In process groups of their own, they get a *second* Ctrl-C as SIGTERM, and do not stop at once.
- torch 2.1.2 kills processes that still save 30 seconds after a signal (later: `LaunchConfig.shutdown_timeout`), and
  SIGUSR1 ends its launcher before they have saved (later: `LaunchConfig.signals_to_handle`).
- Its log adds 8 lines to a killed process and 24 to a bug (2.14.1), with a traceback of the launcher. One-line errors
  would still come from `worker`, where torchrun and SLURM need them.

What did work with torch 2.14.1: exit codes 130, 138 and 143, and saving for 40 seconds after SIGTERM.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Collection
from multiprocessing import connection, resource_tracker
from multiprocessing.context import SpawnProcess
from typing import Any

from torch import distributed

from lt_det.training.launch.env import process_from_environment
from lt_det.training.launch.rendezvous import namespace, serve_store
from lt_det.training.launch.worker import is_first_report, run_worker
from lt_det.training.preemption import STOP_SIGNALS

_POLL = 0.2  # seconds
_GRACE = 10.0  # seconds between the end of the first process and SIGKILL for the rest, to finish writing a checkpoint


def spawn(
    main: Callable[[argparse.Namespace], Any], args: argparse.Namespace, per_machine: int, host: str, port: int
) -> int:
    """Run `main(args)` in `per_machine` new processes.

    Args:
        main: a function that the new processes can import.
        args: with ``num_machines`` and ``machine_rank``; passed to `main`.
        per_machine: number of processes on each machine.
        host, port: where the processes of all machines connect. Machine 0 opens the port; 0 means any free port.

    Returns:
        The exit code of the first process that failed, 128 + signal if it was killed; 0 if none did.

    Raises:
        LtDetError: the port is in use.
    """
    store = None
    if args.machine_rank == 0:
        server = serve_store(port)
        port, store = server.port, namespace(server)
    environment = {
        "WORLD_SIZE": args.num_machines * per_machine,
        "LOCAL_WORLD_SIZE": per_machine,
        "MASTER_ADDR": host,
        "MASTER_PORT": port,
        "TORCHELASTIC_USE_AGENT_STORE": True,
    }
    context = multiprocessing.get_context("spawn")
    processes = {}
    for local_rank in range(per_machine):
        rank = args.machine_rank * per_machine + local_rank
        variables = {**environment, "RANK": rank, "LOCAL_RANK": local_rank}
        # Not daemons, which could not have DataLoader workers.
        processes[rank] = context.Process(target=_run_child, args=(main, args, variables))
    pending: list[int] = []
    previous = {signum: signal.signal(signum, lambda number, _: pending.append(number)) for signum in STOP_SIGNALS}
    try:
        _start(processes.values())
        return _wait(processes, pending, store)
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)


def _start(processes: Collection[SpawnProcess]) -> None:
    """Start the processes with signals blocked: a signal stays pending until `run_worker` can handle it."""
    resource_tracker.ensure_running()  # otherwise the first start does this, and unblocks SIGINT and SIGTERM
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    for process in processes:
        process.start()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)


def _wait(processes: dict[int, SpawnProcess], pending: list[int], store: distributed.Store | None) -> int:
    """Forward `pending` signals until all processes have ended; kill those that outlive a failed one.

    Returns the exit code of the first failure.
    """
    code, deadline = 0, math.inf
    running, forwarded = dict(processes), set()
    while running and time.monotonic() < deadline:
        connection.wait([process.sentinel for process in running.values()], _POLL)
        while pending:
            forwarded.add(signum := pending.pop(0))
            for process in running.values():
                os.kill(process.pid or 0, signum)
        for rank, process in list(running.items()):
            process.join(0)
            if process.exitcode is None:
                continue
            del running[rank]
            if process.exitcode < 0 and -process.exitcode not in forwarded:
                _report_kill(rank, -process.exitcode, store)
            if process.exitcode:
                code = code or (process.exitcode if process.exitcode > 0 else 128 - process.exitcode)
                deadline = min(deadline, time.monotonic() + _GRACE)
    for process in running.values():
        process.kill()
        process.join()
    return code


def _report_kill(rank: int, signum: int, store: distributed.Store | None) -> None:
    is_first_report(store)  # marks the failure as reported, which the killed process cannot do
    name = signal.Signals(signum).name
    hint = " (possibly out of memory)" if name == "SIGKILL" else ""
    print(
        f"error: Process {rank} was killed by {name}{hint}; all processes end. Continue with --resume.",
        file=sys.stderr,
    )


def _run_child(
    main: Callable[[argparse.Namespace], Any], args: argparse.Namespace, variables: dict[str, object]
) -> None:
    os.setpgrp()  # Ctrl-C in a terminal then reaches only the parent, which forwards it
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    os.environ.update({name: str(value) for name, value in variables.items()})
    process = process_from_environment(os.environ)
    assert process is not None
    sys.exit(run_worker(main, args, process, launcher=""))


def _exit_with_parent() -> None:
    """A killed parent cannot stop this process."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
