"""What writing a generated data set takes: one OpenCV thread, a progress bar."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import cv2
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep OpenCV to one thread: for small pictures, waking others costs more than they give."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


@contextmanager
def progress_bar(text: str, total: int, *, shown: bool) -> Iterator[Callable[[], None]]:
    """Show a bar with the time left, and give the function that counts one step; it does nothing if not `shown`."""
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
    # Standard error, so that a command's own output can still be piped.
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=total)
        yield lambda: bar.advance(task)
