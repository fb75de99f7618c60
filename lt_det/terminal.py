"""Text for a terminal: names of a user's data may hold escape sequences, and the terminal may lack letters."""

from __future__ import annotations

import codecs
import functools
import io
import logging
import os
import re
import sys
from collections.abc import Sequence
from typing import IO

# What a terminal acts on, or what makes a text look like another one: control characters (escape sequences begin with
# one), line separators, marks of the writing direction, invisible tags, and lone surrogates, which no encoding has.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e007f]"
)
_COLORS = re.compile("\x1b\\[[0-9;]*m")  # Detectron2 colors parts of its messages
_SPELLED = {"✓": "ok", "✗": "x", "…": "...", "±": "+-", "“": '"', "”": '"', "–": "-", "×": "x"}
_ENCODING_ERRORS = "lt_det.spell"


def printable(text: str, keep: str = "") -> str:
    r"""The text with ``\x1b`` and the like in place of each character that a terminal would act on.

    Args:
        text: a name of the user's data, or a message with names.
        keep: characters that stay as they are, such as line feeds.
    """
    return _UNSAFE.sub(lambda found: found[0] if found[0] in keep else _escaped(found[0]), text)


def one_line(text: str) -> str:
    """The text of an error, whose lines are joined, as a terminal may show it."""
    return printable(" ".join(text.split("\n")))


def count_of(number: int, noun: str) -> str:
    """``1 class``, ``2 classes``, ``1 image``, ``0 boxes``, ``3 entries``.

    Args:
        number: shown as it is.
        noun: in the singular; its last word becomes the plural.
    """
    if number == 1:
        return f"{number} {noun}"
    if noun.endswith(("s", "x", "ch", "sh")) and not noun.endswith("epoch"):
        return f"{number} {noun}es"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return f"{number} {noun[:-1]}ies"
    return f"{number} {noun}s"


def decimals(value: float, digits: int = 1) -> str:
    """The number with so many decimals; what rounds to 0 has no sign."""
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text


def signed(value: float | None) -> str:
    """A difference of AP with its sign and one decimal, or n/a; what rounds to 0 has no sign."""
    if value is None:
        return "n/a"
    text = decimals(value)
    return f"+{text}" if value > 0 and float(text) else text


def span(ends: Sequence[float]) -> str:
    """``1.3 to 4.6``."""
    return f"{decimals(ends[0])} to {decimals(ends[1])}"


def signed_interval(ends: Sequence[float]) -> str:
    """``[-0.3, +1.2]``."""
    return f"[{signed(ends[0])}, {signed(ends[1])}]"


@functools.cache
def warn_once(logger: logging.Logger, sentence: str) -> None:
    """Log a warning that holds for the whole process, such as one about the training set, the first time only."""
    logger.warning("%s", sentence)


def make_logs_printable(logger: logging.Logger) -> None:
    """Apply `printable` to everything that the handlers of a logger write; lines and tabs stay, colors are removed."""
    for handler in logger.handlers:
        if not any(isinstance(found, _PrintableRecords) for found in handler.filters):
            handler.addFilter(_PrintableRecords())


def prepare_output() -> None:
    """Let standard output and error accept everything, so that writing to them never ends a command.

    They spell or escape the letters that their encoding lacks. Where they can no longer be written, because their
    reader (such as `head`) has ended or the disk is full, the rest of the output is discarded and the command finishes
    its work; `output_failure` has the reason.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by the shell, as with >&-
            stream = open(os.devnull, "w")  # noqa: SIM115 - until the process ends
            setattr(sys, name, stream)
        if type(stream) is io.TextIOWrapper:  # a capture of pytest or a notebook is of another type
            stream.flush()
            setattr(sys, name, _SafeOutput(stream))
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_ENCODING_ERRORS)


def output_failure() -> OSError | None:
    """Why standard output or error cannot be written; None if they can, or if their reader has ended."""
    failures = []
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, _SafeOutput):
            stream.flush()
            failures.append(stream.failure)
    return next((error for error in failures if error and not isinstance(error, BrokenPipeError)), None)


def discard_output(stream: IO[str]) -> None:
    """Let what is written to the stream from now on vanish; Python fails otherwise when it flushes the stream."""
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
    except (OSError, ValueError):  # not a stream of the operating system
        pass


class _SafeOutput(io.TextIOWrapper):
    """A standard stream that discards what is written after it has failed.

    Args:
        stream: the stream to replace, which stays open.
    """

    def __init__(self, stream: io.TextIOWrapper) -> None:
        super().__init__(
            stream.buffer,
            encoding=stream.encoding,
            errors=_ENCODING_ERRORS,
            line_buffering=stream.line_buffering,
            write_through=stream.write_through,
        )
        self._replaced = stream  # whose destructor would close the file
        self.failure: OSError | None = None

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError as error:
            self._discard(error)
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            self._discard(error)

    def _discard(self, error: OSError) -> None:
        self.failure = self.failure or error
        discard_output(self)


class _PrintableRecords(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        try:
            message = record.getMessage()
        except (TypeError, ValueError):  # the handler reports arguments that do not fit
            return True
        record.msg, record.args = printable(_COLORS.sub("", message), keep="\n\t"), None
        return True


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape", "backslashreplace").decode("ascii")


def _spell(error: UnicodeError) -> tuple[str, int]:
    """A handler of encoding errors, see `codecs.register_error`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    return "".join(_SPELLED.get(letter) or _escaped(letter) for letter in letters), error.end


codecs.register_error(_ENCODING_ERRORS, _spell)
