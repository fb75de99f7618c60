"""Let one process at a time work in a folder."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lt_det.errors import LtDetError


@contextmanager
def folder_lock(folder: Path, what: str) -> Iterator[None]:
    """Hold the lock of an existing folder. The operating system releases it when the process ends, however it ends.

    Args:
        folder: to work in.
        what: does the work, for the message: "bake-off".

    Raises:
        LtDetError: another process holds the lock.
    """
    with (folder / ".lock").open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LtDetError(
                f"Another {what} is running in {folder}; wait until it has ended, or choose another folder."
            ) from None
        yield
