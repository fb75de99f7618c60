"""How a long loop reports its progress."""

from __future__ import annotations

from collections.abc import Callable, Iterable

# Wraps an iterable of numbers and yields them again; `iter` shows nothing.
Track = Callable[[Iterable[int]], Iterable[int]]
