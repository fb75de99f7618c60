"""Let one process at a time work in a folder, or write a file."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import socket
import stat
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lt_det.errors import LtDetError
from lt_det.io.atomic import writing_to

logger = logging.getLogger(__name__)

_NAME = ".lock"
_TAKEN = {errno.EAGAIN, errno.EACCES}
_PATIENCE = 3.0  # seconds; a process that was just killed holds its locks until the kernel has cleared it away

_held: weakref.WeakSet[FolderLock] = weakref.WeakSet()
_warned: set[Path] = set()


class FolderLock:
    """The lock of a folder, in its file ``.lock``, which says who holds it: host, process id, SLURM job.

    The operating system releases it when the process ends, however it ends; processes forked from it do not hold it.
    """

    def __init__(self, folder: Path, what: str) -> None:
        """
        Args:
            folder: to work in.
            what: does the work, for messages: "training".
        """
        self.folder, self._what = folder, what
        self._file: int | None = None

    def acquire(self) -> None:
        """Create the folder and take its lock, unless this object holds it already.

        A SLURM job that was requeued takes over the lock of its earlier start, which a network file system may not have
        released yet. Where the file system has no locks, a warning is logged once.

        Raises:
            LtDetError: another process holds the lock, or the folder cannot be written.
        """
        if self._file is not None:
            return
        with writing_to(self.folder, f"The lock of a {self._what}"):
            file = _open(self.folder / _NAME)
        try:
            taken = not _lock(file, self.folder)
            holder = _holder(file) if taken else {}
            if taken and not _is_requeued(holder):
                raise LtDetError(self._refusal(holder))
            if taken:
                logger.warning(
                    f"The lock of {self.folder} is held by an earlier start of this SLURM job on {holder['host']}, "
                    "and ignored."
                )
            with contextlib.suppress(OSError):  # a full disk, or a file of another user
                os.ftruncate(file, 0)
                os.pwrite(file, json.dumps({"what": self._what, **_this_process()}).encode(), 0)
        except BaseException:
            os.close(file)
            raise
        self._file = file
        _held.add(self)

    def release(self) -> None:
        """Release the lock if this object holds it. The file stays: to remove it would let two processes lock two."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, 0)
            self.close()

    def close(self) -> None:
        """Close the file; this releases the lock unless another process has it open."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    def _refusal(self, holder: dict[str, str]) -> str:
        other = holder.get("what", self._what)
        job = f", SLURM job {holder['job']}" if holder.get("job") else ""
        who = f" (process {holder['pid']} on {holder['host']}{job})" if {"pid", "host"} <= holder.keys() else ""
        return (
            f"Another {other}{who} is running in {self.folder}; wait until it has ended, or choose another folder. If "
            f"its machine has crashed, its file system may keep the lock for some minutes: wait, or remove "
            f"{self.folder / _NAME}."
        )


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
    """Hold the lock of a folder, see `FolderLock`.

    Args:
        folder: to work in; created.
        what: does the work, for the message: "bake-off".

    Raises:
        LtDetError: another process holds the lock, or the folder cannot be written.
    """
    lock = FolderLock(folder, what)
    lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _open(path: Path) -> int:
    """A file descriptor; read-only where the file belongs to another user, which is enough for a lock."""
    flags = os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        file = os.open(path, flags | os.O_RDWR, 0o666)
    except PermissionError:
        file = os.open(path, flags & ~os.O_CREAT | os.O_RDONLY)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(errno.EINVAL, f"{path.name} is no regular file")
    return file


def _lock(file: int, folder: Path) -> bool:
    """Lock a file; False if another process holds it."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError as error:
            if error.errno not in _TAKEN:
                if folder not in _warned:
                    _warned.add(folder)
                    logger.warning(
                        f"The file system of {folder} has no locks ({error.strerror}): make sure yourself that only "
                        "one process at a time works there."
                    )
                return True
        if time.monotonic() > deadline or _same_process(_holder(file)):
            return False
        time.sleep(0.1)


def _this_process() -> dict[str, str]:
    return {
        "host": socket.gethostname(),
        "pid": str(os.getpid()),
        "job": os.environ.get("SLURM_JOB_ID", ""),
        "start": os.environ.get("SLURM_RESTART_COUNT", "0"),
    }


def _holder(file: int) -> dict[str, str]:
    """What the holder of a lock has written; empty if that cannot be read."""
    try:
        said = json.loads(os.pread(file, 4096, 0))
    except (OSError, ValueError):
        return {}
    return {key: str(value) for key, value in said.items()} if isinstance(said, dict) else {}


def _same_process(holder: dict[str, str]) -> bool:
    return {key: holder.get(key) for key in ("host", "pid")} == {key: _this_process()[key] for key in ("host", "pid")}


def _is_requeued(holder: dict[str, str]) -> bool:
    """Whether the lock is left from an earlier start of this SLURM job, whose processes SLURM has ended.

    A second training in the same job, on the same host and since the same start, is another one.
    """
    here = _this_process()
    same_job = bool(here["job"]) and holder.get("job") == here["job"]
    return same_job and (holder.get("start") != here["start"] or holder.get("host") != here["host"])


def _close_inherited() -> None:
    """In a forked process: otherwise a worker that outlives its parent would keep the lock."""
    for lock in list(_held):
        lock.close()


os.register_at_fork(after_in_child=_close_inherited)
