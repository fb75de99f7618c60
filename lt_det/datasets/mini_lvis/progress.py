"""One OpenCV thread and a progress bar, for generating a data set."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import cv2
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep OpenCV to one thread: for small images, starting more costs more than they save."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


@contextmanager
def progress_bar(text: str, total: int, *, shown: bool) -> Iterator[Callable[[], None]]:
    """Show a progress bar with the time left, and yield the function that advances it by one step.

    Args:
        text: label of the bar.
        total: number of steps.
        shown: False: show nothing; the function does nothing then.
    """
    if not shown:
        yield lambda: None
        return
    columns = (
        TextColumn(text),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("time left"),
        TimeRemainingColumn(),
    )
    # On standard error, so that the output of the command can still be piped.
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=total)
        yield lambda: bar.advance(task)
