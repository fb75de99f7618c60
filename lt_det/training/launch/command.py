"""The command of the training tools: alone, on several GPUs, under torchrun, under SLURM."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import torch
from detectron2.engine import default_argument_parser

from lt_det.errors import LtDetError, exit_code_of
from lt_det.training.launch.env import World, world_of_environment
from lt_det.training.launch.rendezvous import Timeouts, room, serve
from lt_det.training.launch.spawn import spawn
from lt_det.training.launch.worker import take_part, trains_on_cpu

_EXAMPLES = """examples:
  %(prog)s --config FILE --num-gpus 8
  %(prog)s --config FILE --num-gpus 8 --resume      go on after an interruption
  %(prog)s --config FILE --num-processes 2          without a GPU
  %(prog)s --config FILE SOLVER.BASE_LR 0.01        another value, of a yaml config
  %(prog)s --config FILE optimizer.lr=0.01          of a LazyConfig

several machines, each with its own --machine-rank (or torchrun or SLURM, see tools/launch):
  %(prog)s --config FILE --num-gpus 8 --num-machines 2 --machine-rank 0 --dist-url tcp://HOST:PORT
A second training on one machine wants a port of its own: --dist-url auto takes a free one.
"""


def argument_parser() -> argparse.ArgumentParser:
    """Detectron2's training options, with ``--config``, ``--traceback``, processes on the CPU and time-outs."""
    parser = default_argument_parser(_EXAMPLES)
    parser.set_defaults(num_gpus=None)  # so that torchrun and srun are only contradicted by those who mean to
    parser.add_argument("--config", dest="config_file", metavar="FILE", help="the same as --config-file")
    parser.add_argument("--traceback", action="store_true", help="show where in the code an error was raised")
    parser.add_argument(
        "--num-processes", type=int, metavar="N", help="train on the CPU with N processes *per machine*, over gloo"
    )
    waits = {
        "start": (10, "all processes to come"),
        "training": (10, "each other in an iteration"),
        "evaluation": (240, "the main process while it judges"),
    }
    for name, (minutes, what) in waits.items():
        parser.add_argument(
            f"--{name}-timeout",
            type=float,
            default=minutes,
            metavar="MINUTES",
            help=f"how long processes wait for {what} ({minutes})",
        )
    return parser


def run(main: Callable[[argparse.Namespace], Any], args: argparse.Namespace) -> int:
    """Run `main(args)` in all processes of the training and return the exit code.

    Processes that torchrun or srun have started join each other; without them ``--num-gpus`` or ``--num-processes``
    are started, if more than one.

    A user's mistake (`LtDetError`) is printed as one sentence by one process; code 1.
    """
    return exit_code_of(lambda: _in_all_processes(main, args), args.traceback)


def _in_all_processes(main: Callable[[argparse.Namespace], Any], args: argparse.Namespace) -> int:
    Timeouts.from_args(args)
    world = world_of_environment(os.environ)
    per_machine = _processes_per_machine(args, world)
    if world is not None and world.size > 1:
        return take_part(main, args, world)
    if world is not None or per_machine * args.num_machines == 1:
        main(args)
        return 0
    return _spawn(main, args, per_machine)


def _processes_per_machine(args: argparse.Namespace, world: World | None) -> int:
    """What ``--num-gpus`` or ``--num-processes`` says, checked against the world that exists and the GPUs."""
    if args.num_gpus is not None and args.num_processes is not None:
        raise LtDetError("Give --num-gpus to train on GPUs or --num-processes to train on the CPU, not both.")
    given = args.num_gpus if args.num_processes is None else args.num_processes
    option = "--num-gpus" if args.num_processes is None else "--num-processes"
    if given is not None and given < (1 if option == "--num-processes" else 0):
        raise LtDetError(f"{option} is {given}; give a number above 0.")
    count = max(given, 1) if given is not None else world.local_size if world else 1
    if world is not None:
        machines = world.size // world.local_size
        if count != world.local_size or args.num_machines not in (1, machines):
            raise LtDetError(
                f"torchrun or srun has started {world.local_size} processes on each of {machines} machines, but "
                f"{option} is {count} and --num-machines {args.num_machines}; leave both options out."
            )
    elif count > 1 and not trains_on_cpu(args) and count > torch.cuda.device_count():
        raise LtDetError(f"--num-gpus is {count}, but this machine has {torch.cuda.device_count()} GPUs; give fewer.")
    elif count > 1 and option == "--num-gpus" and trains_on_cpu(args):
        raise LtDetError(
            f"--num-gpus is {count}, but torch sees no GPU; train on the CPU with --num-processes {count} and the "
            "device cpu, or see `lt-det doctor`."
        )
    return count


def _spawn(main: Callable[[argparse.Namespace], Any], args: argparse.Namespace, per_machine: int) -> int:
    machines, machine = args.num_machines, args.machine_rank
    if not 0 <= machine < machines:
        raise LtDetError(
            f"--machine-rank is {machine}, but must lie between 0 and {machines - 1} (--num-machines - 1)."
        )
    host, port = _meeting_place(args.dist_url, machines)
    store = None
    if machine == 0:
        server = serve(port)
        port, store = server.port, room(server)
    worlds = [
        World(
            rank=machine * per_machine + local_rank,
            size=machines * per_machine,
            local_rank=local_rank,
            local_size=per_machine,
            host=host,
            port=port,
            served=True,
        )
        for local_rank in range(per_machine)
    ]
    return spawn(main, args, worlds, store)


def _meeting_place(dist_url: str, machines: int) -> tuple[str, int]:
    """Host and port; port 0 is any free one."""
    if dist_url == "auto" and machines == 1:
        return "127.0.0.1", 0
    url = urlsplit(dist_url)
    try:
        host, port = url.hostname, url.port
    except ValueError:  # a port that is none
        host = port = None
    if url.scheme != "tcp" or host is None or port is None:
        raise LtDetError(
            f"--dist-url is '{dist_url}'; write tcp://HOST:PORT, or, on one machine, auto for any free port."
        )
    if machines > 1 and host in ("127.0.0.1", "localhost"):
        raise LtDetError(
            f"--num-machines is {machines}, but other machines cannot reach {dist_url}; give all of them the same "
            "--dist-url tcp://HOST:PORT, where HOST is the one with --machine-rank 0."
        )
    return host, port
