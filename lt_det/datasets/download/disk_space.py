"""Whether there is enough space for what is about to be written."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from lt_det.datasets.download.catalog import Archive
from lt_det.datasets.download.presence import images_there
from lt_det.errors import LtDetError
from lt_det.io.transfer_progress import size_text


def check_space(folder: Path, needed: int, what: str) -> None:
    """Compare the free space of a disk with what will be written to it. A quota may allow less, which is not seen here.

    Args:
        folder: folder on the disk, which need not exist yet.
        needed: bytes that will be written.
        what: name of what will be written, for the message.

    Raises:
        LtDetError: there is less space.
    """
    free = shutil.disk_usage(_existing(folder)).free
    if free < needed:
        raise LtDetError(
            f"{what} needs at least {size_text(needed)} in {folder}, where {size_text(free)} are free; free space "
            "there, or choose another folder with --out."
        )


def check_space_of_archives(archives: Sequence[Archive], root: Path, keep_archives: bool) -> None:
    """Compare the free space of each disk with what downloading and unpacking the archives in turn will take at least.

    Images take as much as their archive, since JPEGs cannot be compressed; json files take more, but how much more is
    only known from the archive. Archives without a known size do not count.

    Args:
        archives: the missing archives.
        root: the folder that DETECTRON2_DATASETS names; folders in it may be links to other disks.
        keep_archives: whether archives stay after they have been unpacked.

    Raises:
        LtDetError: there is less space.
    """
    folders: dict[int, Path] = {}  # by disk
    taken: Counter[int] = Counter()
    most: Counter[int] = Counter()
    for archive in archives:
        size, file = archive.size or 0, archive.file(root)
        received = next((path.stat().st_size for path in (file, Path(f"{file}.part")) if path.exists()), 0)
        on, to = (_existing(path) for path in (file.parent, root / archive.folder))
        for folder, more in ((on, size - received), (to, size - images_there(root / archive.folder).size)):
            disk = folder.stat().st_dev
            folders.setdefault(disk, folder)
            taken[disk] += max(more, 0)
            most[disk] = max(most[disk], taken[disk])
        if not keep_archives:
            taken[on.stat().st_dev] -= size
    for disk, folder in folders.items():
        check_space(folder, most[disk], f"What is missing ({', '.join(archive.name for archive in archives)})")


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())
