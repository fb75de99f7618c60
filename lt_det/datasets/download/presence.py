"""What of a dataset is there already."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from lt_det.datasets.download.catalog import Archive, is_image


class Images(NamedTuple):
    """Images in a folder.

    Attributes:
        number: of images that are not empty.
        size: bytes of all of them.
    """

    number: int
    size: int


def is_unpacked(archive: Archive, root: Path) -> bool:
    """Whether all files of an archive are there: enough images, or json files that are not truncated.

    Args:
        archive: of the catalog.
        root: the folder that DETECTRON2_DATASETS names.
    """
    folder = root / archive.folder
    if archive.files:
        return all(is_closed_json(folder / name) for name in archive.files)
    return images_there(folder).number >= archive.images


def images_there(folder: Path) -> Images:
    """Count COCO's images in a folder, which may be missing."""
    if not folder.is_dir():
        return Images(0, 0)
    with os.scandir(folder) as entries:
        sizes = [entry.stat().st_size for entry in entries if is_image(entry.name)]
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
