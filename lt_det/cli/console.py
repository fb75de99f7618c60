"""The terminal that every command prints to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import track

if TYPE_CHECKING:
    from lt_det.evaluation.progress import Track

console = Console()


def progress_bar(step: str) -> Track:
    """A bar with the remaining time, shown only on a terminal and removed when the step is done."""
    hidden = not console.is_terminal
    return lambda items: track(list(items), description=step, console=console, transient=True, disable=hidden)
