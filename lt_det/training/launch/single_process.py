"""The launcher of tools that use a trained model in one process."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from collections.abc import Callable

from lt_det.compat.known_warnings import silence_known_warnings
from lt_det.errors import exit_code_of
from lt_det.user_modules import import_user_modules


def run_single_process(main: Callable[[argparse.Namespace], None], args: argparse.Namespace) -> int:
    """Run `main(args)` and return the exit code; a user's mistake (`LtDetError`) is printed as one sentence, code 1."""
    silence_inference()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # runs the finally blocks, as Ctrl-C does

    def run() -> None:
        import_user_modules()
        main(args)

    return exit_code_of(run, args.traceback)


def silence_inference() -> None:
    """Drop the warnings about a model that is not trained here, and those that its user cannot act on."""
    silence_known_warnings()
    logging.getLogger("lt_det.modeling.loss_builder").setLevel(logging.ERROR)  # missing inputs that only training needs
