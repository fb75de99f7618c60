"""The terminal that every command prints to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lt_det.io.console import SafeConsole
from lt_det.io.progress import progress_bar

if TYPE_CHECKING:
    from lt_det.evaluation.progress import Track

console = SafeConsole()


@contextmanager
def working(text: str) -> Iterator[None]:
    """A spinner with a text, on a terminal; it needs a thread of its own."""
    if not console.is_terminal:
        yield
        return
    with console.status(text):
        yield


def track_step(step: str) -> Track:
    """A wrapper of the loop of a step that shows a bar on a terminal, and removes it when the step is done."""

    def track(items: Iterable[int]) -> Iterator[int]:
        listed = list(items)
        with progress_bar(step, len(listed), transient=True) as advance:
            for item in listed:
                yield item
                advance()

    return track
