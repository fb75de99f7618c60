"""The command line of `lt-det`: its subcommands, and the options that all of them have."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from lt_det.cli import (
    adjust,
    bakeoff,
    compare,
    diagnose,
    doctor,
    download,
    evaluate,
    init,
    mini_lvis,
    report,
    strip_weights,
    zoo,
)
from lt_det.cli.annotations import split, stats, subset
from lt_det.cli.options.version import ShowVersions
from lt_det.cli.tools import HELP, run_tool
from lt_det.compat.known_warnings import silence_known_warnings
from lt_det.errors import exit_code_of
from lt_det.io.options import OneValueParser
from lt_det.terminal import make_logs_printable
from lt_det.user_modules import VARIABLE, import_user_modules

_IMPORT = "--import"
_format_warning = warnings.formatwarning
# In the order of the help, which is that of the work; a name is a command of `lt_det.cli.tools`.
_COMMANDS = (
    stats,
    split,
    init,
    doctor,
    "train",
    report,
    bakeoff,
    compare,
    "demo",
    "export",
    evaluate,
    diagnose,
    adjust,
    download,
    subset,
    mini_lvis,
    "imagenet-weights",
    strip_weights,
    zoo,
    "install-detectron2",
)


def run_command(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand; return its exit code.

    Args:
        argv: the words after ``lt-det``; None for those of this process.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    command = _place_of_command(words)
    if command < len(words) and words[command] in HELP:
        args = _parser().parse_args(words[: command + 1])
        rest = ["--traceback"] * args.traceback + words[command + 1 :]
        return _run(args, lambda: run_tool(words[command], rest))
    args = _parser().parse_args(words)
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    make_logs_printable(logging.getLogger())
    logging.captureWarnings(True)
    warnings.formatwarning = _warning_text
    silence_known_warnings()
    return _run(args, lambda: int(args.run(args)))


def _place_of_command(words: Sequence[str]) -> int:
    """The index of the first word that is neither an option nor the value of one."""
    place = 0
    while place < len(words) and words[place].startswith("-"):
        place += 2 if words[place] == _IMPORT else 1
    return place


def _run(args: argparse.Namespace, command: Callable[[], int]) -> int:
    """Import the user's modules and run a command; return its exit code."""
    if args.modules:
        os.environ[VARIABLE] = ",".join(args.modules)  # for the processes that the command starts

    def run() -> int:
        import_user_modules()
        return command()

    return exit_code_of(run, args.traceback)


def _warning_text(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """A warning of lt_det as its sentence alone; of other packages also where in the code it is."""
    if category is UserWarning and Path(filename).is_relative_to(Path(__file__).parents[1]):
        return str(message)
    return _format_warning(message, category, filename, lineno, line)


def _parser() -> argparse.ArgumentParser:
    parser = OneValueParser(
        prog="lt-det",
        description="Long-tailed object detection for Detectron2.",
        epilog="lt-det COMMAND --help shows the options of a command.",
    )
    parser.add_argument(
        _IMPORT,
        dest="modules",
        action="append",
        default=[],
        metavar="MODULE",
        help="import a module of your project first, which registers datasets, losses, config keys or other parts of "
        f"Detectron2; can be repeated (or list them in {VARIABLE})",
    )
    parser.add_argument("--traceback", action="store_true", help="show the traceback of an error")
    parser.add_argument("--version", action=ShowVersions, help="show the versions of lt_det and of what it runs on")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in _COMMANDS:
        if isinstance(command, str):
            commands.add_parser(command, help=HELP[command], add_help=False)
        else:
            command.add_parser(commands)
    return parser
