"""Start a training: in one process, in several, or as one process of torchrun or SLURM."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from typing import Any

from lt_det.compat.known_warnings import silence_known_warnings
from lt_det.errors import exit_code_of
from lt_det.training.launch.env import process_from_environment
from lt_det.training.launch.options import address, processes_per_machine
from lt_det.training.launch.spawn import spawn
from lt_det.training.launch.timeouts import Timeouts
from lt_det.training.launch.worker import run_worker
from lt_det.user_modules import import_user_modules


def run(main: Callable[[argparse.Namespace], Any], args: argparse.Namespace) -> int:
    """Run `main(args)` in all processes of the training run and return the exit code.

    Processes of torchrun or srun join each other. Otherwise ``--num-gpus`` or ``--num-processes`` says how many to
    start; one runs in this process.

    A user's mistake (`LtDetError`) is printed as one sentence by one process; exit code 1.
    """
    silence_known_warnings()
    return exit_code_of(lambda: _launch(main, args), args.traceback)


def _launch(main: Callable[[argparse.Namespace], Any], args: argparse.Namespace) -> int:
    import_user_modules()
    Timeouts.from_args(args)  # refuse a bad one before any process starts
    process = process_from_environment(os.environ)
    per_machine = processes_per_machine(args, process)
    if process is not None and process.world_size > 1:
        return run_worker(main, args, process)
    if process is not None or per_machine * args.num_machines == 1:
        main(args)
        return 0
    return spawn(main, args, per_machine, *address(args))
