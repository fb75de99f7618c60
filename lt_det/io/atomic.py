"""Atomic writing: a file appears completely or not at all."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lt_det.errors import LtDetError, writing_advice

_TRIAL = 2**16  # bytes


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, with its suffix; it replaces `path` at the end, or is removed on error.

    So a full disk or a kill leaves an existing file unchanged.
    """
    # Not the process id: containers on two machines that share a folder often have the same one.
    unfinished = path.with_name(f".{secrets.token_hex(4)}.{path.name}")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def atomic_files(folder: Path, names: Sequence[str]) -> Iterator[Path]:
    """Yield a temporary folder inside `folder`; at the end its files `names` replace those of `folder`, in this order.

    On error none of them is replaced. The temporary folder is removed, with any other files in it.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix=".unfinished-") as unfinished:
        yield Path(unfinished)
        for name in names:
            Path(unfinished, name).replace(folder / name)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write bytes, or text as UTF-8, atomically (see `atomic_file`). Lone surrogates are escaped as in json.

    Raises:
        OSError: the disk is full or not writable.
    """
    with atomic_file(path) as unfinished:
        unfinished.write_bytes(content if isinstance(content, bytes) else content.encode(errors="backslashreplace"))


@contextmanager
def writing_to(folder: Path, what: str, elsewhere: str = "another folder") -> Iterator[None]:
    """Context that creates `folder` for what is written to it, and explains why it cannot be written.

    Args:
        folder: created with its parents.
        what: is written, for the message: "The report".
        elsewhere: what the user can choose instead, see `writing_advice`.

    Raises:
        LtDetError: an OSError inside the context.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        reason, advice = error.strerror or error, writing_advice(error, elsewhere)
        raise LtDetError(f"{what} cannot be written to {folder} ({reason}); {advice}.") from error


def check_folder(folder: Path, option: str) -> None:
    """Create the folder given by an option before the work whose results are written there, and try to write.

    Raises:
        LtDetError: the folder cannot be created or written, or its disk is full.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:  # an empty file needs no space
            file.write(bytes(_TRIAL))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        reason, advice = error.strerror or error, writing_advice(error, "another")
        raise LtDetError(f"{option} {folder} cannot be written ({reason}); {advice}.") from error
