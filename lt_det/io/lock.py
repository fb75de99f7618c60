"""Let one process at a time work in a folder, or write a file."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from lt_det.errors import LtDetError
from lt_det.io.atomic import writing_to


@contextmanager
def file_lock(file: Path, when_held: Callable[[], None]) -> Iterator[None]:
    """Hold a lock. The operating system releases it when the process ends, however it ends.

    Args:
        file: created if it does not exist; a link is refused, since someone else may have put it there.
        when_held: called if another process holds the lock; if it returns, the lock is waited for.

    Raises:
        OSError: the file cannot be opened, is a link, or its file system has no locks.
    """
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:
            error.strerror = f"{file.name} is a link there, which lt_det does not follow; remove it"
        raise
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            when_held()
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def folder_lock(folder: Path, what: str) -> Iterator[None]:
    """Hold the lock of a folder, see `file_lock`.

    Args:
        folder: to work in; created.
        what: does the work, for the message: "bake-off".

    Raises:
        LtDetError: another process holds the lock, or the folder cannot be written.
    """

    def refuse() -> None:
        raise LtDetError(f"Another {what} is running in {folder}; wait until it has ended, or choose another folder.")

    with ExitStack() as stack:
        with writing_to(folder, f"The lock of a {what}"):
            stack.enter_context(file_lock(folder / ".lock", refuse))
        yield
