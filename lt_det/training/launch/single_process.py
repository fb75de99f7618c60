"""What the tools that use a trained model in one process share."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import warnings
from collections.abc import Callable

from lt_det.errors import exit_code_of


def run_alone(main: Callable[[argparse.Namespace], None], args: argparse.Namespace) -> int:
    """Run `main(args)` and return the exit code; a user's mistake (`LtDetError`) is one sentence and code 1."""
    hush()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # through the finally blocks, as Ctrl-C
    return exit_code_of(lambda: main(args), args.traceback)


def hush() -> None:
    """Drop what is said at every use of a model and that a user of it can do nothing about."""
    warnings.filterwarnings("ignore", message="torch.meshgrid")
    logging.getLogger("torch.fx._symbolic_trace").setLevel(logging.ERROR)
    logging.getLogger("lt_det.modeling.loss_builder").setLevel(logging.ERROR)  # the loss lacks what only training needs
