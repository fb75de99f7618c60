"""The table of a bake-off while candidates finish: live on a terminal, one line for each elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lt_det.reporting.bakeoff import results_table
from lt_det.terminal import printable

if TYPE_CHECKING:
    from lt_det.evaluation.bakeoff_schema import Bakeoff
    from lt_det.evaluation.progress import Track

_SECONDS_BETWEEN_LINES = 30  # of progress where the output is no terminal


class LiveResults:
    """A context in which a bake-off runs. It leaves the table of what has finished, also when it is interrupted.

    Args:
        console: where the table is printed.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._latest: Bakeoff | None = None
        self._printed: set[str] = set()
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("time left"),
            TimeRemainingColumn(),
            console=console,
        )
        self._live = Live(self._progress, console=console, transient=True) if console.is_terminal else None

    def __enter__(self) -> LiveResults:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()
        if self._latest:
            self._console.print(results_table(self._latest).to_rich())

    def show(self, bakeoff: Bakeoff) -> None:
        """Show the bake-off as it is now; called whenever a candidate has finished or failed."""
        self._latest = bakeoff
        if self._live:
            # The bars come first: a table that is longer than the terminal is cut off below.
            self._live.update(Group(self._progress, results_table(bakeoff).to_rich()), refresh=True)
            return
        for entry in bakeoff.candidates:
            if (bakeoff.is_complete(entry) or entry.failed) and entry.name not in self._printed:
                self._printed.add(entry.name)
                metrics = ", ".join(
                    f"{name} {value:.1f}"
                    for name in ("AP", *bakeoff.bucket_metrics)
                    if (value := entry.mean(name)) is not None
                )
                words = f"failed: {entry.failed}" if entry.failed else metrics
                self._console.print(f"{entry.name}: {words}", soft_wrap=True, markup=False, highlight=False)

    def track(self, step: str) -> Track:
        """A wrapper of the loop of a step that shows its progress and the time left.

        On a terminal that is a bar above the table, which goes when the step is done; elsewhere, a line now and then.
        """
        return self._bar(step) if self._live else self._lines(step)

    def _bar(self, step: str) -> Track:
        def track(items: Iterable[int]) -> Iterator[int]:
            listed = list(items)
            task = self._progress.add_task(printable(step), total=len(listed))
            try:
                for item in listed:
                    yield item
                    self._progress.advance(task)
            finally:
                self._progress.remove_task(task)

        return track

    def _lines(self, step: str) -> Track:
        def track(items: Iterable[int]) -> Iterator[int]:
            listed = list(items)
            last = time.monotonic()
            first = 0.0  # when the first item was done: it takes longer, since the step also begins with it
            for done, item in enumerate(listed, 1):
                yield item
                now = time.monotonic()
                first = first or now
                if now - last >= _SECONDS_BETWEEN_LINES and done < len(listed):
                    last = now
                    line = f"{step}: {done} of {len(listed)}"
                    if done > 1:
                        left = (now - first) / (done - 1) * (len(listed) - done)
                        line += f", time left {timedelta(seconds=round(left))}"
                    self._console.print(line, soft_wrap=True, markup=False, highlight=False)

        return track
