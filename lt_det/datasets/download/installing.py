"""Bring the archives of a dataset into the folders where Detectron2 looks for them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from lt_det.datasets.download.catalog import ARCHIVES, Archive
from lt_det.datasets.download.disk_space import check_space_of_archives
from lt_det.datasets.download.presence import is_unpacked
from lt_det.datasets.download.transfer import Reporter, download, verify
from lt_det.datasets.download.unpacking import unpack
from lt_det.errors import LtDetError
from lt_det.io.lock import folder_lock
from lt_det.terminal import count_of


def datasets_root(out: Path | None) -> Path:
    """The folder for datasets: `out`, or what DETECTRON2_DATASETS names.

    Raises:
        LtDetError: there is neither.
    """
    named = os.environ.get("DETECTRON2_DATASETS", "")
    if out is None and not named:
        raise LtDetError("DETECTRON2_DATASETS is not set; set it to the folder for datasets, or give one with --out.")
    return (out or Path(named)).expanduser()


def install(archives: Sequence[Archive], root: Path, report: Reporter, keep_archives: bool = False) -> None:
    """Download and unpack what is missing. An archive that was copied from another machine is not downloaded.

    Args:
        archives: archives of the catalog.
        root: the folder that DETECTRON2_DATASETS names.
        report: shows progress.
        keep_archives: whether archives stay after they have been unpacked.

    Raises:
        LtDetError: see `download`, `verify` and `unpack`; or another process is downloading to the same folder.
    """
    missing = [archive for archive in archives if not is_unpacked(archive, root)]
    for archive in archives:
        if archive not in missing:
            report.say(f"{root / archive.folder}: {archive.contents}, already there")
    if not missing:
        return
    check_space_of_archives(missing, root, keep_archives)
    with folder_lock(root / ARCHIVES, "download"):
        for archive in missing:
            if is_unpacked(archive, root):  # by another process, before this one got the lock
                continue
            file = archive.file(root)
            if not file.exists():
                download(archive.url, file, report, archive.size, archive.sha256)
            elif archive.sha256:
                verify(file, archive.sha256, report, name=archive.name, origin=str(file.parent))
            number = unpack(archive, file, root, report)
            if not keep_archives:
                file.unlink()
            report.say(f"{root / archive.folder}: {count_of(number, 'file')} unpacked from {archive.name}")
