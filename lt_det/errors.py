"""The exception for a user's mistake, and how a command reports it."""

from __future__ import annotations

import sys
import traceback as tracebacks
from collections.abc import Callable
from pathlib import Path

from lt_det.terminal import one_line, output_failure, prepare_output

INTERRUPTED = 130  # what a shell reports for a command ended by Ctrl-C


class LtDetError(Exception):
    """A mistake in a config, a file or a call, described in one sentence: what is wrong, where, and what to do.

    Commands print it without a traceback and exit with code 1.
    """


def reason_of(error: BaseException) -> str:
    """Type, first line and place of an exception, as a part of a sentence."""
    text = str(error.args[0] if error.args else error).strip().split("\n")[0].rstrip(".")
    frames = [frame for frame in tracebacks.extract_tb(error.__traceback__) if frame.filename.endswith(".py")]
    place = f", {Path(frames[-1].filename).name} line {frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{': ' if text else ''}{text}{place}"


def import_problem(error: ImportError, package: str, install: str) -> str:
    """Why an optional package cannot be imported, as the rest of a sentence that begins with what needs it.

    Args:
        error: what importing it raised.
        package: name of the module, such as "pandas".
        install: the command that installs it.
    """
    if isinstance(error, ModuleNotFoundError) and error.name == package:
        return f"the package {package}, which is not installed; run {install}"
    return (
        f"the package {package}, which is installed but does not import ({error}); install it again, or what it lacks"
    )


def exit_code_of(command: Callable[[], int | None], traceback: bool) -> int:
    """Run a command; a user's mistake is printed on standard error in one sentence and gives exit code 1.

    A reader of the output that ends early, such as `head`, is no error. Output to a full disk is one, after the command
    has finished its work.

    Args:
        command: function that returns its exit code, or None for 0.
        traceback: whether to raise an `LtDetError` instead of printing it.
    """
    prepare_output()
    try:
        code = command() or 0
        check_output()
        return code
    except LtDetError as error:
        if traceback:
            raise
        print(f"error: {one_line(str(error))}", file=sys.stderr)
        return 1
    except MemoryError as error:
        if traceback:
            raise
        print(f"error: There is not enough memory{_size(error)}; give the process more, or less data.", file=sys.stderr)
        return 1
    except KeyboardInterrupt as interrupt:
        print(str(interrupt) or "Interrupted.", file=sys.stderr)
        return interrupt_code(interrupt)


def _size(error: MemoryError) -> str:
    """What NumPy could not allocate, as a part of a sentence; Python itself does not say it."""
    text = str(error).strip().split("\n")[0].rstrip(".")
    return f" ({text})" if text else ""


def check_output() -> None:
    """
    Raises:
        LtDetError: what was printed could not be written, because the disk is full, for example.
    """
    if failure := output_failure():
        raise output_error(failure)


def output_error(error: OSError) -> LtDetError:
    """What to raise where standard output cannot be written."""
    return LtDetError(f"The output of the command cannot be written ({error.strerror or error}); free space there.")


def interrupt_code(interrupt: KeyboardInterrupt) -> int:
    """The interrupt's own `exit_code` where it has one, otherwise that of Ctrl-C."""
    return getattr(interrupt, "exit_code", INTERRUPTED)
