"""How the processes of a training find each other, and how long they wait for one another."""

from __future__ import annotations

import argparse
import contextlib
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import torch
from detectron2.utils import comm
from torch import distributed

from lt_det.errors import LtDetError
from lt_det.training.launch.env import World

# Older torch has the time-out of its start for ever: the longest is taken then.
_CAN_CHANGE = hasattr(distributed, "set_timeout") or hasattr(distributed.distributed_c10d, "_set_pg_timeout")
_MINUTES_OF_A_YEAR = 365 * 24 * 60  # torch counts nanoseconds in 64 bits


@dataclass(frozen=True)
class Timeouts:
    """How long a process waits for others.

    Attributes:
        start: until all have come.
        training: in one exchange of gradients or losses; who waits longer waits for a dead process.
        evaluation: while the main process judges what all have found.
    """

    start: timedelta
    training: timedelta
    evaluation: timedelta

    @classmethod
    def from_args(cls, args: argparse.Namespace) -> Timeouts:
        """
        Raises:
            LtDetError: a time that is none, or not above 0.
        """
        minutes = {name: getattr(args, f"{name}_timeout") for name in ("start", "training", "evaluation")}
        for name, value in minutes.items():
            if not 0 < value < _MINUTES_OF_A_YEAR:
                raise LtDetError(f"--{name}-timeout is {value:g} minutes; give a time above 0, of less than a year.")
        return cls(**{name: timedelta(minutes=value) for name, value in minutes.items()})


_timeouts: Timeouts | None = None  # of the processes that this one has joined


def serve(port: int) -> distributed.TCPStore:
    """Open the store in which processes find each other. Port 0 is any free one.

    Raises:
        LtDetError: the port is in use.
    """
    try:
        # In Python, because torch's own attempt writes several lines about a port in use.
        server = socket.create_server(("", port))
    except OSError as error:
        raise LtDetError(
            f"Port {port} of {socket.gethostname()} cannot be opened ({error.strerror}); if no training of yours was "
            "left running there, choose another: --dist-url tcp://HOST:PORT or auto, MASTER_PORT under torchrun or "
            "SLURM."
        ) from None
    port = server.getsockname()[1]
    return distributed.TCPStore(
        "localhost", port, is_master=True, wait_for_workers=False, master_listen_fd=server.detach()
    )


def find(world: World, timeouts: Timeouts) -> distributed.Store:
    """The store of the world, opened by rank 0 unless its parent did.

    Raises:
        LtDetError: nobody answers, or the port is in use.
    """
    if world.rank == 0 and not world.served:
        store = serve(world.port)
        store.set_timeout(timeouts.start)
    else:
        try:
            _wait_for_server(world.host, world.port, timeouts.start)
            store = distributed.TCPStore(
                world.host, world.port, is_master=False, wait_for_workers=False, timeout=timeouts.start
            )
        except (OSError, RuntimeError):
            raise LtDetError(
                f"Nobody answered process {world.rank} at {world.host}:{world.port} within "
                f"{_minutes(timeouts.start)}; process 0 never came, or this machine cannot reach it there."
            ) from None
    return room(store, world.attempt)


def _wait_for_server(host: str, port: int, timeout: timedelta) -> None:
    """Until somebody listens there, else OSError. (torch's own waiting ends in forty lines of C++ frames.)"""
    deadline = time.monotonic() + timeout.total_seconds()
    while True:
        left = deadline - time.monotonic()
        try:
            socket.create_connection((host, port), timeout=max(left, 0.1)).close()
            return
        except OSError:
            if left <= 0:
                raise
        time.sleep(min(left, 0.2))


def room(store: distributed.Store, attempt: str = "0") -> distributed.Store:
    """The part of a store in which processes of one attempt meet."""
    return distributed.PrefixStore(f"lt_det/{attempt}", store)


def join(world: World, store: distributed.Store, timeouts: Timeouts, *, on_cpu: bool) -> None:
    """Wait for all processes, then make torch's process group and Detectron2's group of each machine.

    Args:
        world: of this process.
        store: from `find`.
        timeouts: how long to wait, now and later.
        on_cpu: exchange tensors of the CPU, over gloo, and not of GPUs, over NCCL.

    Raises:
        LtDetError: a process that never comes, that comes twice or that was started for another number of processes;
            fewer GPUs than processes.
    """
    global _timeouts
    if not on_cpu and world.local_rank >= torch.cuda.device_count():
        raise LtDetError(
            f"Process {world.rank} is number {world.local_rank} on its machine (LOCAL_RANK), but sees "
            f"{torch.cuda.device_count()} GPUs, and each process needs its own; start fewer, or let each see all GPUs "
            "of its machine (SLURM: --gpus-per-node, not --gpus-per-task)."
        )
    meet(world, store, timeouts.start)
    if not on_cpu:
        torch.cuda.set_device(world.local_rank)
    wait = timeouts.training if _CAN_CHANGE else max(timeouts.training, timeouts.evaluation)
    distributed.init_process_group(
        "gloo" if on_cpu else "nccl", store=store, rank=world.rank, world_size=world.size, timeout=wait
    )
    _timeouts = timeouts
    comm.create_local_process_group(world.local_size)
    comm.synchronize()


def meet(world: World, store: distributed.Store, timeout: timedelta) -> None:
    """Wait until all processes of the world have come; see `join`."""
    processes = [f"processes {rank}" for rank in range(world.size)]
    if store.add(processes[world.rank], 1) > 1:
        raise LtDetError(
            f"Two processes call themselves number {world.rank}; give each machine its own --machine-rank, from 0 on."
        )
    store.set(f"size {world.rank}", str(world.size))
    if not counted(store, processes, timeout):
        missing = [str(rank) for rank, process in enumerate(processes) if not store.add(process, 0)]
        raise LtDetError(
            f"Of {world.size} processes {', '.join(missing)} did not come to {world.host}:{world.port} within "
            f"{_minutes(timeout)} (--start-timeout); look at the machine that should have started them."
        )
    for rank in range(world.size):
        size = int(store.get(f"size {rank}"))
        if size != world.size:
            raise LtDetError(
                f"Process {rank} was started as one of {size}, process {world.rank} as one of "
                f"{world.size}; give all machines the same --num-gpus and --num-machines."
            )


def counted(store: distributed.Store, keys: list[str], timeout: timedelta) -> bool:
    """Wait until all of these counts are above 0; False where they are not in time.

    (The store's own waiting writes warnings, and older torch cannot ask it for keys without waiting.)
    """
    deadline = time.monotonic() + timeout.total_seconds()
    while not all(store.add(key, 0) for key in keys):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def leave() -> None:
    """End together: where rank 0 serves the store, the others need it to the end."""
    with evaluation_timeout():  # which ends when all have come
        pass
    distributed.destroy_process_group()


@contextlib.contextmanager
def evaluation_timeout() -> Iterator[None]:
    """Within, the processes wait for each other as long as an evaluation may take, not as a training step may.

    The main process judges alone, for minutes or an hour, while the others wait. All processes must enter together.
    """
    if _timeouts is None:
        yield
        return
    _wait_at_most(_timeouts.evaluation)
    try:
        yield
        comm.synchronize()  # with this time-out: whoever comes after must find the main process ready
    finally:
        _wait_at_most(_timeouts.training)


def _wait_at_most(timeout: timedelta) -> None:
    # The second is the one in which Detectron2 gathers objects, the same as the first on the CPU.
    for group in (distributed.group.WORLD, comm._get_global_gloo_group()):
        if hasattr(distributed, "set_timeout"):
            distributed.set_timeout(timeout, group)
        elif _CAN_CHANGE:  # torch before 2.12 or so
            distributed.distributed_c10d._set_pg_timeout(timeout, group)


def _minutes(timeout: timedelta) -> str:
    seconds = timeout.total_seconds()
    return f"{seconds:g} seconds" if seconds < 120 else f"{seconds / 60:g} minutes"
