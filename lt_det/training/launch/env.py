"""Which of a training's processes this one is, where torchrun or srun has started them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from lt_det.errors import LtDetError

_SLURM_PORTS = range(15000, 31000)  # below those that systems hand out by themselves


@dataclass(frozen=True)
class World:
    """The place of one process.

    Attributes:
        rank: of the process, in [0, size).
        size: number of processes on all machines.
        local_rank: of the process on its machine, in [0, local_size).
        local_size: number of processes on each machine.
        host, port: where the processes meet.
        served: the meeting place is run by the process that started this one, not by rank 0.
        attempt: how often the same processes have been started before (torchrun's ``--max-restarts``).
    """

    rank: int
    size: int
    local_rank: int
    local_size: int
    host: str
    port: int
    served: bool = False
    attempt: str = "0"


def world_of_environment(environment: Mapping[str, str]) -> World | None:
    """The world that torchrun or srun describes; None where the processes have yet to be started.

    A SLURM allocation alone (salloc, the shell of an sbatch file, ``srun --pty``) is no world: only the tasks of a step
    with several of them are.

    Raises:
        LtDetError: variables that are missing, no numbers, or describe what Detectron2 cannot work with.
    """
    if "RANK" in environment and "WORLD_SIZE" in environment:
        world = _world_of_torchrun(environment)
    elif environment.get("SLURM_STEP_NUM_TASKS") and _number(environment, "SLURM_STEP_NUM_TASKS") > 1:
        world = _world_of_srun(environment)
    else:
        return None
    if world.size % world.local_size or world.rank % world.local_size != world.local_rank:
        # Detectron2 finds the machine of a process by its rank.
        raise LtDetError(
            f"Process {world.rank} of {world.size} is number {world.local_rank} of {world.local_size} on its machine; "
            "start the same number on each machine, one machine after the other (SLURM: --ntasks-per-node and "
            "--distribution=block)."
        )
    return world


def _world_of_torchrun(environment: Mapping[str, str]) -> World:
    return World(
        rank=_number(environment, "RANK"),
        size=_number(environment, "WORLD_SIZE"),
        local_rank=_number(environment, "LOCAL_RANK"),
        local_size=_number(environment, "LOCAL_WORLD_SIZE"),
        host=_value(environment, "MASTER_ADDR"),
        port=_port(environment),
        served=environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
        attempt=environment.get("TORCHELASTIC_RESTART_COUNT", "0"),
    )


def _world_of_srun(environment: Mapping[str, str]) -> World:
    """MASTER_ADDR and MASTER_PORT, where set, go before the first node and a port made of the job's number."""
    job = 7 * _number(environment, "SLURM_JOB_ID") + _number(environment, "SLURM_STEP_ID")
    has_port = "MASTER_PORT" in environment
    return World(
        rank=_number(environment, "SLURM_PROCID"),
        size=_number(environment, "SLURM_STEP_NUM_TASKS"),
        local_rank=_number(environment, "SLURM_LOCALID"),
        local_size=_tasks_per_node(_value(environment, "SLURM_STEP_TASKS_PER_NODE")),
        host=environment.get("MASTER_ADDR") or first_host(_value(environment, "SLURM_STEP_NODELIST")),
        port=_port(environment) if has_port else _SLURM_PORTS[job % len(_SLURM_PORTS)],
    )


def first_host(nodes: str) -> str:
    """First of SLURM's list of nodes: ``gpu-a[03-05,9],login`` gives ``gpu-a03``."""
    first = re.match(r"(?:[^,\[]|\[[^\]]*\])*", nodes)
    return re.sub(r"\[([^\],-]+)[^\]]*\]", r"\1", first[0] if first else nodes)


def _tasks_per_node(counts: str) -> int:
    """SLURM writes ``4(x2)`` for two nodes of four tasks and ``4,3`` where they differ."""
    counts = re.sub(r"\(x\d+\)", "", counts)
    if not counts.isdigit():
        raise LtDetError(
            f"SLURM runs {counts} tasks on the nodes, but each must have as many; set --ntasks-per-node in the job."
        )
    return int(counts)


def _value(environment: Mapping[str, str], name: str) -> str:
    if not environment.get(name):
        raise LtDetError(
            f"The environment has the rank of this process, but no {name}; start it with torchrun or srun, or unset "
            "RANK and WORLD_SIZE."
        )
    return environment[name]


def _number(environment: Mapping[str, str], name: str) -> int:
    value = _value(environment, name)
    if not value.isdigit():
        raise LtDetError(f"{name} is '{value}' in the environment, but must be a whole number; correct or unset it.")
    return int(value)


def _port(environment: Mapping[str, str]) -> int:
    port = _number(environment, "MASTER_PORT")
    if not 0 < port < 1 << 16:
        raise LtDetError(f"MASTER_PORT is {port} in the environment, but must lie from 1 to 65535; correct it.")
    return port
