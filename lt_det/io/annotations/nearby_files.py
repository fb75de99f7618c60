"""Find the file that a name means which is not in the image folder, to say how the name or the folder is wrong.

Annotation tools write names as they were on the machine of the annotator: with backslashes, with its folders, as an
address, percent-encoded, or without the folder that an export adds.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

_MAX_FOLDERS = 200  # below the image folder that are looked into
_MAX_DEPTH = 3
_MAX_FAILURES = 100  # names in a row without a file nearby: the images are elsewhere
_UPLOAD = re.compile(r"^[0-9a-f]{8}-")  # Label Studio puts it before the name of an uploaded file


def _last(name: str) -> str:
    return re.split(r"[/\\]", name)[-1]


def _decoded_last(name: str) -> str:
    """Label Studio writes the path of a local file after ``?d=``; what follows another ``?`` is no part of a name."""
    return _last(unquote(name.rpartition("?d=")[2].partition("?")[0]))


def _composed(name: str) -> str:
    """macOS decomposes letters with accents."""
    return unicodedata.normalize("NFC", name)


# What a name may have to be, and how it is corrected; the first that exists is taken.
_SAME_FOLDERS: tuple[tuple[Callable[[str], str], str], ...] = (
    (lambda name: name.replace("\\", "/"), "write / in place of \\ in 'file_name'"),
    (unquote, "'file_name' is percent-encoded; decode it"),
    (str.strip, "remove the spaces around 'file_name'"),
)
_WITHOUT_FOLDERS: tuple[tuple[Callable[[str], str], str], ...] = (
    (_last, "remove the folders from 'file_name'"),
    (_decoded_last, "write the decoded name without folders into 'file_name'"),
    (lambda name: _UPLOAD.sub("", _decoded_last(name)), "remove the folders and the 8 characters of the upload"),
)
# What may make two names equal.
_ALIKE: tuple[tuple[Callable[[str], str], str], ...] = (
    (_composed, "their accents are encoded in two ways; rename the files"),
    (lambda name: _composed(name).casefold(), "correct upper and lower case in 'file_name', or rename the files"),
    (lambda name: Path(_composed(name).casefold()).stem, "correct the extension in 'file_name'"),
)


class NearbyFiles:
    """The files in and below an image folder. Each folder is listed once: many stat calls are slow on NFS."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._names: dict[Path, frozenset[str]] = {}
        self._alike: dict[tuple[Path, int], dict[str, str]] = {}
        self._folders: list[Path] | None = None  # that names may be relative to, the one of the last name first
        self._failures = 0

    def has(self, path: Path) -> bool:
        """Whether its folder has a file, or a folder, of this name."""
        folder = path.parent
        if folder not in self._names:
            self._names[folder] = frozenset(entry.name for entry in _entries(folder))
        return path.name in self._names[folder]

    def find(self, name: str) -> tuple[Path, str] | None:
        """The file that a name means, and how the name or the folder is corrected; None if none is nearby.

        Args:
            name: ``file_name`` of a file that does not exist, relative to the image folder or absolute.
        """
        if self._failures >= _MAX_FAILURES:
            return None
        found = self._find(name)
        self._failures = 0 if found else self._failures + 1
        return found

    def _find(self, name: str) -> tuple[Path, str] | None:
        return (
            self._renamed(name, _SAME_FOLDERS)
            or self._in_another_folder(name)
            or self._renamed(name, _WITHOUT_FOLDERS)
            or self._alike_name(Path(self._root, name))
        )

    def _renamed(self, name: str, ways: tuple[tuple[Callable[[str], str], str], ...]) -> tuple[Path, str] | None:
        for read, correction in ways:
            other = read(name)
            if other not in ("", name) and self.has(path := Path(self._root, other)):
                return path, correction
        return None

    def _in_another_folder(self, name: str) -> tuple[Path, str] | None:
        if Path(name).is_absolute():
            return None
        if self._folders is None:
            self._folders = [Path(os.path.abspath(self._root)).parent, *self._below()]
        for folder in self._folders:
            if self.has(path := Path(folder, name)):
                self._folders.remove(folder)
                self._folders.insert(0, folder)
                return path, f"name {folder} as the image folder"
        return None

    def _alike_name(self, path: Path) -> tuple[Path, str] | None:
        for number, (write, correction) in enumerate(_ALIKE):
            key = (path.parent, number)
            if key not in self._alike:
                self.has(path)
                self._alike[key] = {write(name): name for name in sorted(self._names[path.parent])}
            if found := self._alike[key].get(write(path.name)):
                return path.parent / found, correction
        return None

    def _below(self) -> list[Path]:
        """Folders below the image folder, the upper ones first."""
        found, level = [], [self._root]
        for _ in range(_MAX_DEPTH):
            level = sorted(Path(entry.path) for folder in level for entry in _entries(folder) if entry.is_dir())
            found += level
            if len(found) >= _MAX_FOLDERS:
                break
        return found[:_MAX_FOLDERS]


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (OSError, ValueError):  # a name may hold a null byte
        return []
