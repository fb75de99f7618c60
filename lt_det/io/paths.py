"""Paths as users write them."""

from __future__ import annotations

import os


def expanded(path: str | os.PathLike[str]) -> str:
    """A path with the values of ~ and $VARIABLES; one that exists as written stays, even if its name has a $."""
    written = os.fspath(path)
    return written if os.path.exists(written) else os.path.expanduser(os.path.expandvars(written))
