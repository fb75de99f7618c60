"""The mistakes found in an annotation file, and the sentence that reports them, however many records share one."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from lt_det.errors import LtDetError
from lt_det.terminal import count_of

logger = logging.getLogger(__name__)

_KINDS = 5  # kinds of mistakes in a report before "and ... more"
_RECORDS = 4  # records named beside the first one that has a mistake
_FATAL, _REPAIRED, _AS_WRITTEN = "fatal", "repaired", "as written"


class Problem(NamedTuple):
    """A mistake in an annotation file.

    Attributes:
        message: what is wrong, where, and the fix.
        fatal: False: it does not stop training.
        by_number: it is harmless in a few records, and fatal because many have it.
        as_written: it is not fatal, but training does not skip or repair it either; the message says what follows.
        kind: mistakes of a kind are reported once, with the records that share it; "": of no kind.
        noun, id: the record, such as "annotation" and its id.
    """

    message: str
    fatal: bool
    by_number: bool = False
    as_written: bool = False
    kind: str = ""
    noun: str = ""
    id: Any = None


@dataclass
class _Mistake:
    """A mistake that several records share.

    Attributes:
        message: of the first record.
        others: ids of the next few.
        count: number of records.
    """

    message: str
    noun: str
    others: list[Any] = field(default_factory=list)
    count: int = 0

    def add(self, id_: Any) -> None:
        if 0 < self.count <= _RECORDS:
            self.others.append(id_)
        self.count += 1

    def __str__(self) -> str:
        if self.count == 1:
            return self.message
        ids = ", ".join(map(str, self.others)) + (", ..." if self.count - 1 > len(self.others) else "")
        return f"{self.message} (likewise {count_of(self.count - 1, f'other {self.noun}')}: {ids})"


class Findings:
    """Counts the problems of a document, and keeps the first record of each kind of mistake."""

    def __init__(self, json_file: str | os.PathLike[str], accept_many: bool = False) -> None:
        """
        Args:
            json_file: name of the document.
            accept_many: mistakes that are fatal only because many records have them are harmless.
        """
        self._json_file, self._accept_many = json_file, accept_many
        self._found = _nothing()

    def add(self, problems: Iterable[Problem]) -> None:
        """Count problems."""
        for problem in problems:
            is_fatal = problem.fatal and not (problem.by_number and self._accept_many)
            found = self._found[_FATAL if is_fatal else _AS_WRITTEN if problem.as_written else _REPAIRED]
            found.setdefault(problem.kind or problem.message, _Mistake(problem.message, problem.noun)).add(problem.id)

    def add_first(self, problems: Iterable[Problem]) -> None:
        """Count problems that are to be named before those added so far, of other kinds than these."""
        before, self._found = self._found, _nothing()
        self.add(problems)
        for severity, found in before.items():
            self._found[severity] |= found

    @property
    def fatal(self) -> int:
        """The number of fatal problems."""
        return sum(mistake.count for mistake in self._found[_FATAL].values())

    def report(self, warn: bool = True) -> None:
        """Log warnings for mistakes that do not stop training, and raise for fatal ones.

        Args:
            warn: False: only raise.

        Raises:
            LtDetError: fatal mistakes; the message names the file, and the first few records of each kind of mistake.
        """
        if self._found[_FATAL]:
            raise LtDetError(f"{self._json_file}: {self._text(_FATAL)}.")
        effects = {
            _AS_WRITTEN: "",
            _REPAIRED: " Training skips or repairs these; evaluation treats them as the official tools do.",
        }
        for severity, effect in effects.items():
            if warn and self._found[severity]:
                logger.warning("%s: %s.%s", self._json_file, self._text(severity), effect)

    def _text(self, severity: str) -> str:
        mistakes = list(self._found[severity].values())
        more = sum(mistake.count for mistake in mistakes[_KINDS:])
        return "; ".join(map(str, mistakes[:_KINDS])) + (f" ... and {more} more" if more else "")


def _nothing() -> dict[str, dict[str, _Mistake]]:
    return {_FATAL: {}, _REPAIRED: {}, _AS_WRITTEN: {}}
