"""Command line and processes of the training tools."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any

from detectron2.engine import default_argument_parser, launch
from detectron2.utils import comm
from torch.multiprocessing import ProcessExitedException

from lt_det.errors import LtDetError

INTERRUPTED = 130  # what a shell reports for a command ended by Ctrl-C


def argument_parser() -> argparse.ArgumentParser:
    """Detectron2's training options, with ``--config`` and ``--traceback``."""
    parser = default_argument_parser()
    parser.add_argument("--config", dest="config_file", metavar="FILE", help="the same as --config-file")
    parser.add_argument("--traceback", action="store_true", help="show where in the code an error was raised")
    return parser


def run(main: Callable[[argparse.Namespace], Any], args: argparse.Namespace) -> int:
    """Run `main(args)` in as many processes as `args` says and return the exit code.

    A user's mistake (`LtDetError`) is printed as one sentence by the main process; code 1.
    """
    try:
        launch(
            _guarded,
            args.num_gpus,
            num_machines=args.num_machines,
            machine_rank=args.machine_rank,
            dist_url=args.dist_url,
            args=(main, args),
        )
    except ProcessExitedException as error:
        return error.exit_code
    except SystemExit as error:
        return int(error.code or 0)
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def _guarded(main: Callable[[argparse.Namespace], Any], args: argparse.Namespace) -> None:
    try:
        main(args)
    except LtDetError as error:
        if args.traceback:
            raise
        # A mistake that every process meets is told by the first; one that only this process meets (a folder that
        # one machine lacks) by this one, unless the first ends the run meanwhile.
        rank = comm.get_rank()
        if rank > 0:
            time.sleep(2)
        print(f"error: {error}" if rank == 0 else f"error in process {rank}: {error}", file=sys.stderr, flush=True)
        sys.exit(1)
    except KeyboardInterrupt as interrupt:
        if comm.is_main_process():
            print(str(interrupt) or "Interrupted.", file=sys.stderr)
        sys.exit(INTERRUPTED)
