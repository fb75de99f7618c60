"""Unpack an archive: only the files that belong to it, each of them completely or not at all."""

from __future__ import annotations

import lzma
import struct
import zipfile
import zlib
from pathlib import Path

from lt_det.datasets.download.catalog import Archive
from lt_det.datasets.download.disk_space import check_space
from lt_det.datasets.download.presence import is_closed_json
from lt_det.datasets.download.transfer import Reporter, set_aside
from lt_det.errors import LtDetError, writing_advice
from lt_det.terminal import count_of

_UNPACKING = ".unpacking"  # the file that is being written; an interruption may leave one, which the next run replaces
_CHUNK = 2**20  # bytes
# What zipfile raises for a damaged archive, or for one that is not what it should be (encrypted, unknown compression).
_CORRUPT = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    KeyError,
)


def unpack(archive: Archive, file: Path, root: Path, report: Reporter) -> int:
    """Write the files of an archive to its folder. Existing files that are not truncated are left as they are.

    Args:
        archive: an archive of the catalog; other members of the zip are ignored.
        file: the zip; set aside if it is corrupt or incomplete.
        root: the folder that DETECTRON2_DATASETS names.
        report: shows progress.

    Returns:
        Number of files in the archive that are needed.

    Raises:
        LtDetError: the archive is corrupt, or the disk is full.
    """
    folder = root / archive.folder
    try:
        with zipfile.ZipFile(file) as content:
            members = _members(archive, content)
            missing = {name: info for name, info in members.items() if not _is_there(archive, folder / name, info)}
            needed = sum(info.file_size for info in missing.values())
            check_space(folder, needed, f"Unpacking {archive.name}")
            report.start(f"{archive.name}: unpacking", needed)
            folder.mkdir(parents=True, exist_ok=True)
            try:
                for name, info in missing.items():
                    _write(content, info, folder / name, folder / _UNPACKING, report)
            finally:
                (folder / _UNPACKING).unlink(missing_ok=True)
    except _CORRUPT as error:
        aside = set_aside(file, archive.name)
        raise LtDetError(
            f"{archive.name} is corrupt ({str(error) or type(error).__name__}); it is set aside as {aside}: "
            "remove it, and run the same command again to download the archive from the beginning."
        ) from error
    except OSError as error:
        raise LtDetError(
            f"{archive.name} cannot be unpacked to {folder} ({error.strerror or error}); the archive is kept: "
            f"{writing_advice(error, elsewhere='')}, and run the same command again to continue."
        ) from error
    return len(members)


def _members(archive: Archive, content: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The members that are needed, by the name under which they will be unpacked."""
    found = {name: info for info in content.infolist() if (name := archive.file_name(info.filename))}
    if absent := [name for name in archive.files if name not in found]:
        raise zipfile.BadZipFile(f"it has no {absent[0]}")
    if len(found) < archive.images:
        raise zipfile.BadZipFile(f"it has {count_of(len(found), 'image')}, not {archive.images}")
    return found


def _write(content: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path, unfinished: Path, report: Reporter) -> None:
    with content.open(info) as source, unfinished.open("wb") as output:
        while chunk := source.read(_CHUNK):
            output.write(chunk)
            report.advance(len(chunk))
    unfinished.replace(target)


def _is_there(archive: Archive, file: Path, info: zipfile.ZipInfo) -> bool:
    """Whether a file need not be written: an image of the right size, or any json, which may have been corrected."""
    if archive.files:
        return is_closed_json(file)
    try:
        return file.stat().st_size == info.file_size
    except FileNotFoundError:
        return False
