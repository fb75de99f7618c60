"""The `lt-det` command: one module per subcommand, for parsing and printing only."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from lt_det.errors import INTERRUPTED


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand. A user's mistake gives one sentence on standard error and exit code 1."""
    try:  # the import takes seconds, in which Ctrl-C must not print a traceback either
        from lt_det.cli.command_line import run_command
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return INTERRUPTED
    return run_command(argv)
