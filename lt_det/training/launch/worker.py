"""One process of several: join the others, train, and report a failure once for all of them."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NoReturn

import torch
from torch import distributed

from lt_det.compat.known_warnings import silence_known_warnings
from lt_det.compat.torch_distributed import is_peer_failure, short_reason
from lt_det.errors import LtDetError, check_output, interrupt_code, path_error
from lt_det.terminal import one_line, prepare_output
from lt_det.training.launch.env import ProcessInfo
from lt_det.training.launch.rendezvous import connect, join_group, leave_group, wait_for_keys
from lt_det.training.launch.timeouts import Timeouts
from lt_det.training.preemption import STOP_SIGNALS
from lt_det.user_modules import import_user_modules

_REPORTED = "reported"
_LINGER = 1.0  # seconds in which processes with the same error can see in rank 0's store that it has been reported


def uses_cpu(args: argparse.Namespace) -> bool:
    return args.num_processes is not None or not torch.cuda.is_available()


def is_first_report(store: distributed.Store | None) -> bool:
    """Whether no other process has reported a failure yet; later ones are mostly consequences of the first."""
    try:
        return store is None or store.add(_REPORTED, 1) == 1
    except RuntimeError:  # the process that runs the store has ended
        return True


def run_worker(
    main: Callable[[argparse.Namespace], Any],
    args: argparse.Namespace,
    process: ProcessInfo,
    launcher: str = "torchrun or srun",
) -> int:
    """Run `main(args)` as one of several processes.

    Args:
        main: a function.
        args: the options.
        process: this one.
        launcher: has started the processes, and says which of them ended; empty: lt_det, which says so itself.

    Returns the exit code 0. A process that fails or is interrupted ends here, with `os._exit`.
    """
    store = None
    prepare_output()
    silence_known_warnings()
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)  # blocked by `spawn`
        import_user_modules()
        timeouts = Timeouts.from_args(args)
        store = connect(process, timeouts)
        join_group(process, store, timeouts, on_cpu=uses_cpu(args))
        main(args)
        leave_group()
        check_output()
    except KeyboardInterrupt as interrupt:
        if process.rank == 0:
            print(str(interrupt) or "Interrupted.", file=sys.stderr)
        _exit(interrupt_code(interrupt))
    except Exception as error:
        _report(error, process.rank, store, args.traceback, launcher)
        if process.rank == 0 and not process.store_is_running:
            time.sleep(_LINGER)
        _exit(1)
    return 0


def _report(error: Exception, rank: int, store: distributed.Store | None, always_trace: bool, launcher: str) -> None:
    """Print the error, unless another process has reported a failure or does so within the next seconds."""
    prefix, is_bug, patience = f"error in process {rank}", False, 0
    error = path_error(error) or error
    if isinstance(error, LtDetError):
        # An error of all processes is reported by rank 0; one of this process alone (a folder that its machine lacks),
        # by this process.
        message = str(error)
        if rank == 0:
            prefix = "error"
        else:
            patience = 2
    elif is_peer_failure(error):
        patience = 5  # the process that failed knows why
        where = f"the output of {launcher} says which" if launcher else "see the output above or on the other machines"
        message = (
            f"Another process has ended or does not respond ({short_reason(error)}); {where}, then continue with "
            "--resume."
        )
    else:
        is_bug = True
        message = "The traceback above is from a bug; all processes end."
    if store is not None:
        with contextlib.suppress(RuntimeError):  # the process that runs the store has ended
            wait_for_keys(store, [_REPORTED], timedelta(seconds=patience))
    if is_first_report(store):
        if always_trace or is_bug:
            traceback.print_exception(error)
        print(f"{prefix}: {one_line(message)}", file=sys.stderr)


def _exit(code: int) -> NoReturn:
    """Exit without the clean-up of torch's process group, which may abort or wait for processes that are gone."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
