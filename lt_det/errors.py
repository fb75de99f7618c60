"""The exception for a user's mistake, and how a command reports it."""

from __future__ import annotations

import difflib
import errno
import sys
import traceback as tracebacks
from collections.abc import Callable, Iterable
from pathlib import Path

from lt_det.terminal import one_line, output_failure, prepare_output

INTERRUPTED = 130  # what a shell reports for a command ended by Ctrl-C

# Errors that go away when there is space again.
DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
# Errors of a path, and not of the program that looks at it.
_OF_PATHS = DISK_FULL | {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENAMETOOLONG,
    errno.ELOOP,
    errno.EIO,
    errno.ESTALE,
}


class LtDetError(Exception):
    """A mistake in a config, a file or a call, described in one sentence: what is wrong, where, and what to do.

    Commands print it without a traceback and exit with code 1.
    """


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """The end of a clause that says that a name is unknown.

    Returns:
        ``; did you mean 'KNOWN'?`` for the closest of the known names, whatever its case; a full stop if none is close.
    """
    names = {one.lower(): one for one in known}
    close = difflib.get_close_matches(str(name).lower(), names, n=1)
    return f"; did you mean '{names[close[0]]}'?" if close else "."


def reason_of(error: BaseException) -> str:
    """Type, first line and place of an exception, as a part of a sentence."""
    text = str(error.args[0] if error.args else error).strip().split("\n")[0].rstrip(".")
    frames = [frame for frame in tracebacks.extract_tb(error.__traceback__) if frame.filename.endswith(".py")]
    place = f", {Path(frames[-1].filename).name} line {frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{': ' if text else ''}{text}{place}"


def writing_advice(error: OSError, elsewhere: str = "another folder") -> str:
    """What to do where a file or folder cannot be written, as the end of a sentence.

    Args:
        error: what the operating system raised.
        elsewhere: what to choose instead; empty where the user cannot choose.
    """
    advice = [_cure(error), f"choose {elsewhere}" if elsewhere else ""]
    return " or ".join(filter(None, advice)) or "correct this"


def path_error(error: BaseException) -> LtDetError | None:
    """What to report where the operating system refuses a path, wherever that happens; None for other exceptions."""
    if not (isinstance(error, OSError) and error.errno in _OF_PATHS and error.filename):
        return None
    return LtDetError(f"{error.filename} cannot be used ({error.strerror}); {writing_advice(error, 'another path')}.")


def _cure(error: OSError) -> str:
    """Empty where none is known."""
    if error.errno in DISK_FULL:
        return "free space there"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "correct the permissions"
    if error.errno == errno.EROFS:
        return "mount the disk writable"
    if error.errno == errno.ENAMETOOLONG:
        return "shorten the name"
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return "allow more open files (`ulimit -n`)"
    if error.errno in (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENOTEMPTY):
        return f"move {_obstacle(error)} out of the way"
    return ""


def _obstacle(error: OSError) -> str:
    """The file that stands where a folder is needed, or the folder that stands where a file is to be written."""
    name = error.filename2 or error.filename
    if name is None:
        return "what is there"
    if error.errno in (errno.EISDIR, errno.ENOTEMPTY):
        return str(name)
    path = Path(name)
    return str(next((part for part in (path, *path.parents) if part.exists() and not part.is_dir()), path))


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
    except OSError as error:
        if traceback or (refused := path_error(error)) is None:
            raise
        print(f"error: {one_line(str(refused))}", file=sys.stderr)
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
    advice = writing_advice(error, "another file")
    return LtDetError(f"The output of the command cannot be written ({error.strerror or error}); {advice}.")


def interrupt_code(interrupt: KeyboardInterrupt) -> int:
    """The interrupt's own `exit_code` where it has one, otherwise that of Ctrl-C."""
    return getattr(interrupt, "exit_code", INTERRUPTED)
