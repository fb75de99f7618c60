"""How a long loop tells of its progress."""

from __future__ import annotations

from collections.abc import Callable, Iterable

# Wraps the numbers that a loop goes over and yields them again; `iter` shows nothing.
Track = Callable[[Iterable[int]], Iterable[int]]
