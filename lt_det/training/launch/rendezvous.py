"""How the processes of a training run find each other: a TCP store, then torch's process group."""

from __future__ import annotations

import socket
import time
from datetime import timedelta

import torch
from detectron2.utils import comm
from torch import distributed

from lt_det.compat.torch_distributed import CAN_CHANGE_TIMEOUT
from lt_det.errors import LtDetError
from lt_det.terminal import count_of
from lt_det.training.launch.env import ProcessInfo
from lt_det.training.launch.timeouts import Timeouts, evaluation_timeout, use_timeouts


def serve_store(port: int) -> distributed.TCPStore:
    """Open the store that the processes connect to. Port 0 means any free port.

    Raises:
        LtDetError: the port is in use.
    """
    try:
        server = socket.create_server(("", port))  # torch's own error for a port in use has several lines
    except OSError as error:
        raise LtDetError(
            f"Port {port} of {socket.gethostname()} cannot be opened ({error.strerror}); if no earlier training run "
            "is still running there, choose another port: --dist-url tcp://HOST:PORT or auto, MASTER_PORT under "
            "torchrun or SLURM."
        ) from None
    port = server.getsockname()[1]
    return distributed.TCPStore(
        "localhost", port, is_master=True, wait_for_workers=False, master_listen_fd=server.detach()
    )


def connect(process: ProcessInfo, timeouts: Timeouts) -> distributed.Store:
    """Connect to the store, which rank 0 opens unless the launcher has.

    Raises:
        LtDetError: no answer within the start timeout, or the port is in use.
    """
    if process.rank == 0 and not process.store_is_running:
        store = serve_store(process.master_port)
        store.set_timeout(timeouts.start)
    else:
        try:
            _wait_for_server(process.master_addr, process.master_port, timeouts.start)
            store = distributed.TCPStore(
                process.master_addr, process.master_port, None, is_master=False, timeout=timeouts.start
            )
        except (OSError, RuntimeError):
            raise LtDetError(
                f"Process {process.rank} got no answer from {process.master_addr}:{process.master_port} within "
                f"{_minutes(timeouts.start)} (--start-timeout); process 0 was not started, or this machine cannot "
                "reach it there."
            ) from None
    return namespace(store, process.restart_count)


def namespace(store: distributed.Store, restart_count: str = "0") -> distributed.Store:
    """lt_det's keys in a store; torchrun's restarts share one store."""
    return distributed.PrefixStore(f"lt_det/{restart_count}", store)


def _wait_for_server(host: str, port: int, timeout: timedelta) -> None:
    """Raise OSError if nothing listens there in time. (torch's own error comes with forty lines of C++ frames.)"""
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


def join_group(process: ProcessInfo, store: distributed.Store, timeouts: Timeouts, *, on_cpu: bool) -> None:
    """Wait for all processes, then create torch's process group and Detectron2's group of each machine.

    Args:
        process: this one.
        store: from `connect`.
        timeouts: for the start, and for the process group.
        on_cpu: communicate over gloo, with tensors on the CPU, instead of NCCL.

    Raises:
        LtDetError: a process is missing, duplicate, or has another world size; a machine has too few GPUs.
    """
    if not on_cpu and process.local_rank >= torch.cuda.device_count():
        raise LtDetError(
            f"Process {process.rank} has local rank {process.local_rank} (LOCAL_RANK), but sees "
            f"{count_of(torch.cuda.device_count(), 'GPU')}, and each process needs its own; start fewer, or let each "
            "see all GPUs of its machine (SLURM: --gpus-per-node, not --gpus-per-task)."
        )
    wait_for_all(process, store, timeouts.start)
    if not on_cpu:
        torch.cuda.set_device(process.local_rank)
    timeout = timeouts.training if CAN_CHANGE_TIMEOUT else max(timeouts.training, timeouts.evaluation)
    backend, rank, size = "gloo" if on_cpu else "nccl", process.rank, process.world_size
    distributed.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=timeout)
    use_timeouts(timeouts)
    comm.create_local_process_group(process.local_world_size)
    comm.synchronize()


def wait_for_all(process: ProcessInfo, store: distributed.Store, timeout: timedelta) -> None:
    """Wait until all processes have registered in the store and agree on the world size; see `join_group`."""
    keys = [f"process/{rank}" for rank in range(process.world_size)]
    if store.add(keys[process.rank], 1) > 1:
        raise LtDetError(
            f"Two processes have the rank {process.rank}; give each machine its own --machine-rank, starting at 0."
        )
    store.set(f"world_size/{process.rank}", str(process.world_size))
    if not wait_for_keys(store, keys, timeout):
        missing = ", ".join(str(rank) for rank, key in enumerate(keys) if not store.add(key, 0))
        raise LtDetError(
            f"Of {process.world_size} processes, {missing} did not connect to "
            f"{process.master_addr}:{process.master_port} within {_minutes(timeout)} (--start-timeout); check the "
            "machine that should have started them."
        )
    for rank in range(process.world_size):
        world_size = int(store.get(f"world_size/{rank}"))
        if world_size != process.world_size:
            raise LtDetError(
                f"Process {rank} was started as one of {world_size}, process {process.rank} as one of "
                f"{process.world_size}; give all machines the same --num-gpus and --num-machines."
            )


def wait_for_keys(store: distributed.Store, keys: list[str], timeout: timedelta) -> bool:
    """Wait until all these counters are above 0; return whether they are in time.

    (`Store.wait` prints warnings on a timeout, and in torch 2.1 no call checks a key without waiting.)
    """
    deadline = time.monotonic() + timeout.total_seconds()
    while not all(store.add(key, 0) for key in keys):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def leave_group() -> None:
    """Wait for all processes, which need rank 0's store to the end, and destroy the process group."""
    with evaluation_timeout():  # which ends with a barrier
        pass
    distributed.destroy_process_group()


def _minutes(timeout: timedelta) -> str:
    minutes = timeout / timedelta(minutes=1)
    return f"{minutes:g} minute{'s' * (minutes != 1)}"
