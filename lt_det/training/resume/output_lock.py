"""One training at a time in OUTPUT_DIR: two would remove each other's unfinished checkpoints and mix their logs."""

from __future__ import annotations

import os
from pathlib import Path

from detectron2.utils import comm

from lt_det.io.lock import FolderLock

_held: dict[str, FolderLock] = {}


def hold_output_dir(output_dir: str) -> None:
    """Take the lock of OUTPUT_DIR in the main process, unless it has it already.

    Args:
        output_dir: OUTPUT_DIR; an empty one and an address such as s3://... have no lock.

    Raises:
        LtDetError: another training holds the lock, or the folder cannot be written.
    """
    if not output_dir or "://" in output_dir or not comm.is_main_process():
        return
    lock = _held.setdefault(os.path.realpath(output_dir), FolderLock(Path(output_dir), "training"))
    lock.acquire()


def release_output_dir(output_dir: str) -> None:
    """Release the lock that `hold_output_dir` took; processes that end release it, too."""
    lock = _held.pop(os.path.realpath(output_dir), None)
    if lock is not None:
        lock.release()
