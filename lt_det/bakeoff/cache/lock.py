"""One process at a time computes a feature cache."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lt_det.bakeoff.cache.writer import writing
from lt_det.errors import LtDetError

LOCK_NAME = "cache.lock"


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Within, no other process can compute the cache in `folder`. The lock of a process that is killed is released.

    Raises:
        LtDetError: another process is computing it, or the folder cannot be written.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK_NAME).open("w")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LtDetError(
                f"Another process is computing the feature cache {folder}; wait for it, or choose another folder."
            ) from error
        yield
