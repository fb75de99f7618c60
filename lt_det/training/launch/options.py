"""Options of the training tools: Detectron2's, and how many processes of how many machines train."""

from __future__ import annotations

import argparse
import sys
from urllib.parse import urlsplit

import torch
from detectron2.engine import default_argument_parser

from lt_det.errors import LtDetError
from lt_det.io.options import GivenOnce
from lt_det.io.plain_values.yaml_files import UNSAFE_HELP, UNSAFE_OPTION
from lt_det.terminal import count_of
from lt_det.training.launch.env import ProcessInfo
from lt_det.training.launch.worker import uses_cpu

_EXAMPLES = """examples:
  %(prog)s --config FILE --num-gpus 8
  %(prog)s --config FILE --num-gpus 8 --resume      continue after an interruption
  %(prog)s --config FILE --num-processes 2          without a GPU
  %(prog)s --config FILE SOLVER.BASE_LR 0.01        override a key of a yaml config
  %(prog)s --config FILE optimizer.lr=0.01          override a key of a LazyConfig

several machines, each with its own --machine-rank (or torchrun or SLURM, see tools/launch):
  %(prog)s --config FILE --num-gpus 8 --num-machines 2 --machine-rank 0 --dist-url tcp://HOST:PORT
A second training on the same machine needs another port: --dist-url auto takes a free one.
"""


def argument_parser(program: str | None = None) -> argparse.ArgumentParser:
    """Detectron2's training options, with ``--config``, ``--traceback``, ``--num-processes`` and timeouts.

    Args:
        program: name in the help; None: that of the script.
    """
    parser = argparse.ArgumentParser(
        program,
        parents=[default_argument_parser()],
        description="Train a detector, or evaluate it with --eval-only.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        conflict_handler="resolve",  # Detectron2's --config-file becomes another name of --config
        add_help=False,
    )
    parser.set_defaults(num_gpus=None)  # so that an explicit number can be checked under torchrun
    parser.add_argument(
        "--config",
        "--config-file",
        dest="config_file",
        action=GivenOnce,
        default="",
        metavar="FILE",
        help="a file, or the name of a shipped config, such as lvis_eql",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="continue from the last checkpoint in OUTPUT_DIR; without one, start the training",
    )
    parser.add_argument(UNSAFE_OPTION, action="store_true", help=UNSAFE_HELP)
    parser.add_argument("--traceback", action="store_true", help="show the traceback of an error")
    parser.add_argument(
        "--num-processes", type=int, metavar="N", help="train on the CPU with N processes *per machine*, over gloo"
    )
    waits = {
        "start": (10, "for all processes to connect"),
        "training": (10, "for each other in a training step"),
        "evaluation": (240, "for the main process to evaluate"),
    }
    for name, (minutes, what) in waits.items():
        parser.add_argument(
            f"--{name}-timeout",
            type=float,
            default=minutes,
            metavar="MINUTES",
            help=f"how long processes wait {what} ({minutes})",
        )
    return parser


def processes_per_machine(args: argparse.Namespace, process: ProcessInfo | None) -> int:
    """``--num-gpus`` or ``--num-processes``, checked against the environment and the GPUs.

    Args:
        args: the options.
        process: this process of torchrun or srun, if one of them has started it.

    Raises:
        LtDetError: the options contradict each other or the environment, or this machine has fewer GPUs.
    """
    if args.num_gpus is not None and args.num_processes is not None:
        raise LtDetError("Give --num-gpus to train on GPUs or --num-processes to train on the CPU, not both.")
    given = args.num_gpus if args.num_processes is None else args.num_processes
    option = "--num-gpus" if args.num_processes is None else "--num-processes"
    if given is not None and given < (1 if option == "--num-processes" else 0):
        raise LtDetError(f"{option} is {given}; give a positive number.")
    count = max(given, 1) if given is not None else process.local_world_size if process else 1
    if process is not None:
        per_machine = process.local_world_size
        machines = process.world_size // per_machine
        if count != per_machine or args.num_machines not in (1, machines):
            raise LtDetError(
                f"torchrun or srun has started {count_of(per_machine, 'process')} on each of "
                f"{count_of(machines, 'machine')}, but {option} is {count} and --num-machines {args.num_machines}; "
                "omit both options."
            )
        _check_rendezvous_options(args, process)
    elif count > 1 and not uses_cpu(args) and count > torch.cuda.device_count():
        raise LtDetError(
            f"--num-gpus is {count}, but this machine has {count_of(torch.cuda.device_count(), 'GPU')}; give fewer."
        )
    elif count > 1 and option == "--num-gpus" and uses_cpu(args):
        raise LtDetError(
            f"--num-gpus is {count}, but torch sees no GPU; train on the CPU with --num-processes {count} and the "
            "device cpu, or see `lt-det doctor`."
        )
    elif args.num_machines == 1 and args.machine_rank != 0:
        raise LtDetError(
            f"--machine-rank is {args.machine_rank}, but --num-machines is 1; give the number of machines to all of "
            "them, or omit --machine-rank."
        )
    return count


def _check_rendezvous_options(args: argparse.Namespace, process: ProcessInfo) -> None:
    """torchrun and srun say which machine this is, and where the processes connect."""
    machine = process.rank // process.local_world_size
    if args.machine_rank not in (0, machine):
        raise LtDetError(
            f"--machine-rank is {args.machine_rank}, but torchrun or srun has started process {process.rank} on "
            f"machine {machine}; omit the option."
        )
    if process.rank == 0 and args.dist_url != default_argument_parser().get_default("dist_url"):
        print(
            f"--dist-url {args.dist_url} is ignored: torchrun or srun says where the processes connect "
            f"({process.master_addr}:{process.master_port}).",
            file=sys.stderr,
        )


def address(args: argparse.Namespace) -> tuple[str, int]:
    """Host and port of ``--dist-url``, where the processes connect; port 0 means any free port.

    Raises:
        LtDetError: ``--dist-url`` is not an address that all machines can reach, or ``--machine-rank`` is out of range.
    """
    machines, url = args.num_machines, args.dist_url
    if not 0 <= args.machine_rank < machines:
        raise LtDetError(
            f"--machine-rank is {args.machine_rank}, but must be between 0 and {machines - 1} (--num-machines - 1)."
        )
    if url == "auto" and machines == 1:
        return "127.0.0.1", 0
    parts = urlsplit(url)
    try:
        host, port = parts.hostname, parts.port
    except ValueError:  # the port is not a number
        host = port = None
    if parts.scheme != "tcp" or host is None or port is None:
        raise LtDetError(f"--dist-url is '{url}'; write tcp://HOST:PORT, or, on one machine, auto for any free port.")
    if machines > 1 and host in ("127.0.0.1", "localhost"):
        raise LtDetError(
            f"--num-machines is {machines}, but other machines cannot reach {url}; give all of them the same "
            "--dist-url tcp://HOST:PORT, where HOST is the machine with --machine-rank 0."
        )
    return host, port
