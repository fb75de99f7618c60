"""Files that can be read to their end, and files inside a folder."""

from __future__ import annotations

import os
import stat
from pathlib import Path

_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


def check_regular(file: str | os.PathLike[str]) -> None:
    """Raise for what is there but is not a file, such as a pipe, on which a reader would wait for ever.

    A file that does not exist, or an address that only Detectron2 resolves, is left to whoever opens it.

    Raises:
        OSError: says what it is.
    """
    try:
        mode = os.stat(file).st_mode
    except (OSError, ValueError):
        return
    if not stat.S_ISREG(mode):
        raise OSError(f"it is {_KINDS.get(stat.S_IFMT(mode), 'something else')}, not a file")


def inside_folder(folder: str | os.PathLike[str], name: str) -> Path | None:
    """The path of a file that a data set names, relative to its folder or absolute; None if it is not in the folder.

    Links inside the folder are followed by whoever opens the path: whoever made them may read their targets. ``..`` in
    the name is removed from the path before, so that it cannot leave the target of a link either.
    """
    root = os.path.abspath(folder)
    path = os.path.normpath(os.path.join(root, name))
    for base in (root, os.path.realpath(root)):
        if path.startswith(os.path.join(base, "")):
            return Path(path)
    return None
