"""What the kinds of `lt-det download` share."""

from __future__ import annotations

import argparse
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from lt_det.cli.console import console
from lt_det.errors import INTERRUPTED
from lt_det.io.transfer_progress import TransferProgress


class Interrupted(KeyboardInterrupt):
    """The download was interrupted by Ctrl-C or SIGTERM; what was received is kept.

    Args:
        exit_code: exit code of the command.
    """

    def __init__(self, exit_code: int) -> None:
        super().__init__("Interrupted; what was received is kept, and the same command continues.")
        self.exit_code = exit_code


def add_dry_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="download nothing; list addresses, sizes and folders, and commands for a machine with internet access",
    )


@contextmanager
def transfers() -> Iterator[TransferProgress]:
    """Show progress; on Ctrl-C and SIGTERM say that the same command continues."""
    previous = signal.signal(signal.SIGTERM, _terminate)
    try:
        with TransferProgress() as progress:
            yield progress
    except Interrupted:
        raise
    except KeyboardInterrupt:
        raise Interrupted(INTERRUPTED) from None
    finally:
        signal.signal(signal.SIGTERM, previous)


def show(text: str) -> None:
    """Print lines as they are; nothing for an empty text."""
    if text:
        console.print(text, soft_wrap=True, markup=False, highlight=False)


def _terminate(signum: int, frame: FrameType | None) -> None:
    raise Interrupted(128 + signum)  # as shells report a command that was killed by the signal
