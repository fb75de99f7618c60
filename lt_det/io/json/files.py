"""Json files that lt_det writes and reads back: written atomically, and one sentence if one cannot be used."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from lt_det.errors import LtDetError
from lt_det.io.atomic import write_atomically, writing_to


@contextmanager
def reading(file: Path, what: str, advice: str) -> Iterator[None]:
    """Context that reads and decodes `file`, and explains why it cannot be used.

    Args:
        file: named in the message.
        what: it should be: "an evaluation".
        advice: what the user can do.

    Raises:
        LtDetError: the file cannot be read, or its content is something else; the message names the file and the key.
    """
    try:
        yield
    except (OSError, UnicodeDecodeError, RecursionError, msgspec.DecodeError) as error:
        raise LtDetError(f"{file} is not {what} written by lt_det ({error}); {advice}.") from None


def write_json(content: dict[str, Any], file: Path, what: str, indent: int | None = None) -> Path:
    """Write finite values atomically; whole numbers beyond 64 bits, which category ids may be, are written, too.

    Args:
        content: of builtin types.
        file: its folder is created.
        what: is written, for the message: "The evaluation".
        indent: see `json.dumps`.

    Returns:
        Path of the file.

    Raises:
        LtDetError: the folder cannot be written.
    """
    with writing_to(file.parent, what):
        write_atomically(file, json.dumps(content, allow_nan=False, indent=indent) + "\n")
    return file
