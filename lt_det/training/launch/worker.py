"""One process among several: join the others, work, and let one of them say what went wrong."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
import traceback
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NoReturn

import torch
from torch import distributed

from lt_det.errors import LtDetError, interrupt_code
from lt_det.training.launch.env import World
from lt_det.training.launch.rendezvous import Timeouts, counted, find, join, leave

_SPOKEN = "spoken"
_LOST = ("gloo", "NCCL", "Connection closed", "Connection reset", "Broken pipe")


def trains_on_cpu(args: argparse.Namespace) -> bool:
    return args.num_processes is not None or not torch.cuda.is_available()


def may_speak(store: distributed.Store | None) -> bool:
    """Whether the caller is the first that has something to say; who comes later tells of its consequences only."""
    try:
        return store is None or store.add(_SPOKEN, 1) == 1
    except RuntimeError:  # who serves the store has ended
        return True


def take_part(main: Callable[[argparse.Namespace], Any], args: argparse.Namespace, world: World) -> int:
    """Run `main(args)` as one of several processes and return the exit code; a process that fails ends here."""
    store = None
    try:
        timeouts = Timeouts.from_args(args)
        store = find(world, timeouts)
        join(world, store, timeouts, on_cpu=trains_on_cpu(args))
        main(args)
        leave()
    except LtDetError as error:
        # A mistake that every process meets is told by the first; one that only this process meets (a folder that
        # one machine lacks) by this one.
        if world.rank > 0:
            _let_others_speak(store, 2)
        if may_speak(store):
            if args.traceback:
                traceback.print_exc()
            where = "error" if world.rank == 0 else f"error in process {world.rank}"
            print(f"{where}: {error}", file=sys.stderr)
        _end(1)
    except KeyboardInterrupt as interrupt:
        if world.rank == 0:
            print(str(interrupt) or "Interrupted.", file=sys.stderr)
        _end(interrupt_code(interrupt))
    except Exception as error:
        _tell_bug(error, world, store, args.traceback)
        _end(1)
    return 0


def is_lost(error: BaseException | None) -> bool:
    """Whether this is what torch raises where another process has ended or does not answer."""
    return isinstance(error, RuntimeError) and any(name in str(error) for name in _LOST)


def _tell_bug(error: Exception, world: World, store: distributed.Store | None, always_trace: bool) -> None:
    lost = is_lost(error)
    if lost:  # because another process has ended, which knows better why
        _let_others_speak(store, 5)
    if not may_speak(store):
        return
    if always_trace or not lost:
        traceback.print_exc()
    if lost:
        reason = re.sub(r"^\[\S+\] |\. This is .*", "", str(error).strip().split("\n")[0])
        print(
            f"error in process {world.rank}: Another process has ended or no longer answers ({reason}); find it in "
            "what torchrun or srun says, then go on with --resume.",
            file=sys.stderr,
        )
    else:
        print(f"error in process {world.rank}: the above is a bug; all processes end.", file=sys.stderr)


def _let_others_speak(store: distributed.Store | None, seconds: float) -> None:
    with contextlib.suppress(RuntimeError):  # who serves the store has ended
        if store is not None:
            counted(store, [_SPOKEN], timedelta(seconds=seconds))


def _end(code: int) -> NoReturn:
    """End without the clean-up of torch's process group, which may wait for processes that are gone, or abort."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
