"""Let one process at a time work in a folder."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lt_det.errors import LtDetError
from lt_det.io.atomic import writing_to


@contextmanager
def folder_lock(folder: Path, what: str) -> Iterator[None]:
    """Hold the lock of a folder. The operating system releases it when the process ends, however it ends.

    Args:
        folder: to work in; created.
        what: does the work, for the message: "bake-off".

    Raises:
        LtDetError: another process holds the lock, or the folder cannot be written.
    """
    with writing_to(folder, f"The lock of a {what}"):
        file = (folder / ".lock").open("w")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LtDetError(
                f"Another {what} is running in {folder}; wait until it has ended, or choose another folder."
            ) from None
        yield
