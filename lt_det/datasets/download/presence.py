"""Which parts of a dataset are already on disk."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from lt_det.datasets.download.catalog import Archive, is_image
from lt_det.errors import LtDetError


class Images(NamedTuple):
    """Images in a folder.

    Attributes:
        number: number of images that are not empty.
        size: bytes of all of them.
    """

    number: int
    size: int


def is_unpacked(archive: Archive, root: Path) -> bool:
    """Whether all files of an archive are there: enough images, or json files that are not truncated.

    Args:
        archive: an archive of the catalog.
        root: the folder that DETECTRON2_DATASETS names.

    Raises:
        LtDetError: a file or folder cannot be read.
    """
    folder = root / archive.folder
    if archive.files:
        return all(is_closed_json(folder / name) for name in archive.files)
    return images_there(folder).number >= archive.images


def images_there(folder: Path) -> Images:
    """Count COCO's images in a folder, which may be missing."""
    if not folder.exists():
        return Images(0, 0)
    try:
        with os.scandir(folder) as entries:
            sizes = [_size(entry) for entry in entries if is_image(entry.name)]
    except OSError as error:
        raise _unreadable(folder, error) from error
    return Images(sum(size > 0 for size in sizes), sum(sizes))


def is_closed_json(file: Path) -> bool:
    """Whether a file begins and ends as a json object does: a truncated one does not."""
    try:
        with file.open("rb") as content:
            start = content.read(64).lstrip()
            content.seek(max(file.stat().st_size - 64, 0))
            return start.startswith(b"{") and content.read().rstrip().endswith(b"}")
    except FileNotFoundError:
        return False
    except OSError as error:
        raise _unreadable(file, error) from error


def _size(entry: os.DirEntry[str]) -> int:
    """Bytes of a file; 0 of a link whose target is missing."""
    try:
        return entry.stat().st_size
    except FileNotFoundError:
        return 0


def _unreadable(path: Path, error: OSError) -> LtDetError:
    return LtDetError(f"{path} cannot be read ({error.strerror or error}); correct this, or choose another folder.")
