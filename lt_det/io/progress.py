"""The progress bar of long loops."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lt_det.io.console import SafeConsole
from lt_det.terminal import printable


@contextmanager
def progress_bar(text: str, total: int, *, shown: bool = True, transient: bool = False) -> Iterator[Callable[[], None]]:
    """Show a progress bar with the time left, and yield the function that advances it by one step.

    Args:
        text: label of the bar.
        total: number of steps.
        shown: False: show nothing; the function does nothing then.
        transient: show the bar on a terminal only, and remove it at the end.
    """
    console = SafeConsole(stderr=True)  # the output of the command can still be piped
    if not shown or (transient and not console.is_terminal):
        yield lambda: None
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("time left"),
        TimeRemainingColumn(),
    )
    # The bar is redrawn by a thread, which a process at its limits may not start.
    with Progress(*columns, console=console, transient=transient, auto_refresh=console.is_terminal) as bar:
        task = bar.add_task(printable(text), total=total)
        yield lambda: bar.advance(task)
