"""The progress of long transfers of bytes: bars on a terminal, lines in the log of a batch job."""

from __future__ import annotations

import time
from types import TracebackType

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from lt_det.io.console import SafeConsole
from lt_det.terminal import count_of, printable

LINE_INTERVAL = 30.0  # seconds between two lines where there is no terminal


def size_text(number: float) -> str:
    """``19.34 GB``, ``384.6 kB``, ``0 bytes``: in powers of ten, as disks and download pages count."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= factor:
            return f"{number / factor:.4g} {unit}"
    return count_of(round(number), "byte")


class TransferProgress:
    """Shows one transfer after the other on standard error, with speed and time left."""

    def __init__(self) -> None:
        self._console = SafeConsole(stderr=True)
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._text = ""
        self._total: int | None = None
        self._done = self._done_before = 0
        self._started = self._last_line = 0.0

    def start(self, text: str, total: int | None, done: int = 0) -> None:
        """Begin a transfer, or the rest of one.

        Args:
            text: what is transferred.
            total: bytes; None if not known.
            done: bytes that an earlier transfer has left.
        """
        self.finish()
        self._text, self._total, self._done, self._done_before = text, total, done, done
        self._started = self._last_line = time.monotonic()
        if self._console.is_terminal:
            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(10),  # the line must fit 80 columns
                DownloadColumn(),
                TransferSpeedColumn(),
                TimeRemainingColumn(),
                TextColumn("left"),
            )
            self._bar = Progress(*columns, console=self._console)
            self._task = self._bar.add_task(printable(text), total=total, completed=done)
            self._bar.start()

    def advance(self, number: int) -> None:
        """Count bytes that have arrived."""
        self._done += number
        if self._bar:
            self._bar.update(self._task, completed=self._done)
        elif not self._console.is_terminal and time.monotonic() - self._last_line >= LINE_INTERVAL:
            self._last_line = time.monotonic()
            self.say(self._line())

    def say(self, sentence: str) -> None:
        """Print a line, above the bar if there is one."""
        self._console.print(sentence, soft_wrap=True, markup=False, highlight=False)

    def finish(self) -> None:
        """Leave the bar as it is."""
        bar, self._bar = self._bar, None
        if bar:
            bar.stop()

    def __enter__(self) -> TransferProgress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.finish()

    def _line(self) -> str:
        speed = (self._done - self._done_before) / max(time.monotonic() - self._started, 1e-9)
        line = f"{self._text}: {size_text(self._done)}"
        if not self._total:
            return f"{line}, {size_text(speed)}/s"
        left = f", {_time_text((self._total - self._done) / speed)} left" if speed else ""
        return f"{line} of {size_text(self._total)} ({self._done / self._total:.0%}), {size_text(speed)}/s{left}"


def _time_text(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
