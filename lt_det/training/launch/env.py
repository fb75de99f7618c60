"""Rank, number of processes and rendezvous address of this process, as torchrun or SLURM set them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from lt_det.errors import LtDetError

_SLURM_PORTS = range(15000, 31000)  # below the ephemeral ports


@dataclass(frozen=True)
class ProcessInfo:
    """One process of a distributed run.

    Attributes:
        rank: global rank, in [0, world_size).
        world_size: number of processes on all machines.
        local_rank: rank on the machine, in [0, local_world_size).
        local_world_size: number of processes on each machine.
        master_addr, master_port: address of the rendezvous store.
        store_is_running: the launcher runs the store, not rank 0.
        restart_count: how often torchrun has restarted the processes (``--max-restarts``).
    """

    rank: int
    world_size: int
    local_rank: int
    local_world_size: int
    master_addr: str
    master_port: int
    store_is_running: bool = False
    restart_count: str = "0"


def process_from_environment(environment: Mapping[str, str]) -> ProcessInfo | None:
    """The process that torchrun or srun describes; None if neither has started this one.

    A SLURM allocation alone (salloc, the shell of an sbatch file, ``srun --pty``) starts no training processes; only a
    step with several tasks does. torchrun inside srun takes precedence.

    Raises:
        LtDetError: variables are missing or malformed, or ranks are not numbered machine by machine.
    """
    if "RANK" in environment and "WORLD_SIZE" in environment:
        process = _from_torchrun(environment)
    elif environment.get("SLURM_STEP_NUM_TASKS") and _integer(environment, "SLURM_STEP_NUM_TASKS") > 1:
        process = _from_slurm(environment)
    else:
        return None
    per_machine = process.local_world_size
    if process.world_size % per_machine or process.rank % per_machine != process.local_rank:
        # Detectron2 derives the machine from the rank.
        raise LtDetError(
            f"Process {process.rank} of {process.world_size} has local rank {process.local_rank} of {per_machine}; "
            "start the same number of processes on each machine, with consecutive ranks (SLURM: --ntasks-per-node and "
            "--distribution=block)."
        )
    return process


def _from_torchrun(environment: Mapping[str, str]) -> ProcessInfo:
    return ProcessInfo(
        rank=_integer(environment, "RANK"),
        world_size=_integer(environment, "WORLD_SIZE"),
        local_rank=_integer(environment, "LOCAL_RANK"),
        local_world_size=_integer(environment, "LOCAL_WORLD_SIZE"),
        master_addr=_value(environment, "MASTER_ADDR"),
        master_port=_port(environment),
        store_is_running=environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
        restart_count=environment.get("TORCHELASTIC_RESTART_COUNT", "0"),
    )


def _from_slurm(environment: Mapping[str, str]) -> ProcessInfo:
    """MASTER_ADDR and MASTER_PORT, where set, override the first node and a port derived from the job id."""
    job = 7 * _integer(environment, "SLURM_JOB_ID") + _integer(environment, "SLURM_STEP_ID")
    has_port = "MASTER_PORT" in environment
    return ProcessInfo(
        rank=_integer(environment, "SLURM_PROCID"),
        world_size=_integer(environment, "SLURM_STEP_NUM_TASKS"),
        local_rank=_integer(environment, "SLURM_LOCALID"),
        local_world_size=_tasks_per_node(_value(environment, "SLURM_STEP_TASKS_PER_NODE")),
        master_addr=environment.get("MASTER_ADDR") or first_host(_value(environment, "SLURM_STEP_NODELIST")),
        master_port=_port(environment) if has_port else _SLURM_PORTS[job % len(_SLURM_PORTS)],
    )


def first_host(nodes: str) -> str:
    """The first host of a SLURM node list: ``gpu-a[03-05,9],login`` gives ``gpu-a03``."""
    first = re.match(r"(?:[^,\[]|\[[^\]]*\])*", nodes)
    return re.sub(r"\[([^\],-]+)[^\]]*\]", r"\1", first[0] if first else nodes)


def _tasks_per_node(counts: str) -> int:
    """SLURM writes ``4(x2)`` for two nodes of four tasks and ``4,3`` where they differ."""
    counts = re.sub(r"\(x\d+\)", "", counts)
    if not counts.isdigit():
        raise LtDetError(
            f"SLURM runs {counts} tasks on the nodes, but each node needs the same number; set --ntasks-per-node."
        )
    return int(counts)


def _value(environment: Mapping[str, str], name: str) -> str:
    if not environment.get(name):
        raise LtDetError(
            f"The environment sets the rank of this process, but no {name}; start it with torchrun or srun, or unset "
            "RANK and WORLD_SIZE."
        )
    return environment[name]


def _integer(environment: Mapping[str, str], name: str) -> int:
    value = _value(environment, name)
    if not value.isdigit():
        raise LtDetError(f"{name} is '{value}' in the environment, but must be an integer; correct or unset it.")
    return int(value)


def _port(environment: Mapping[str, str]) -> int:
    port = _integer(environment, "MASTER_PORT")
    if not 0 < port < 1 << 16:
        raise LtDetError(f"MASTER_PORT is {port} in the environment, but must be between 1 and 65535; correct it.")
    return port
