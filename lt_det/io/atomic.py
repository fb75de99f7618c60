"""Files that are there in full or not at all."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lt_det.errors import LtDetError


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A name beside `path` with its suffix, to write to: it replaces `path` at the end, and is gone after an error.

    So a full disk or a kill leaves an older file as it was.
    """
    # Not by the process's number: containers on two machines that share a folder often have the same.
    unfinished = path.with_name(f".{secrets.token_hex(4)}.{path.name}")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_whole(path: Path, content: str | bytes) -> None:
    """Write bytes, or a text as utf-8, see `whole_file`.

    Raises:
        OSError: the disk is full or not writable.
    """
    with whole_file(path) as unfinished:
        unfinished.write_bytes(content if isinstance(content, bytes) else content.encode())


def check_folder(folder: Path, option: str) -> None:
    """Create the folder that an option names, before the work whose results go there.

    Raises:
        LtDetError: it cannot be created or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise LtDetError(f"{option} {folder} cannot be written ({error.strerror}); choose another.") from error
