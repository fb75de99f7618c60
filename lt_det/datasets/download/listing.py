"""What would be downloaded, as text for a person and as commands for another machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lt_det.datasets.download.catalog import ARCHIVES, Archive
from lt_det.datasets.download.presence import is_unpacked
from lt_det.io.transfer_progress import size_text
from lt_det.terminal import count_of


def listing(archives: Sequence[Archive], root: Path) -> str:
    """Size, address and folder of each archive, and whether its files are there.

    Args:
        archives: archives of the catalog.
        root: the folder that DETECTRON2_DATASETS names.
    """
    lines, missing = [], []
    for archive in archives:
        there = is_unpacked(archive, root)
        missing += [] if there else [archive]
        size = size_text(archive.size) if archive.size else "not known"
        lines += [
            f"{size:>9}  {archive.url}",
            f"{'':9}  -> {root / archive.folder}: {archive.contents} ({'already there' if there else 'missing'})",
        ]
    known = size_text(sum(archive.size or 0 for archive in missing))
    unknown = [archive.name for archive in missing if not archive.size]
    beside = f", and {', '.join(unknown)} of unknown size" if unknown else ""
    return "\n".join([*lines, f"To download: {count_of(len(missing), 'archive')}, {known}{beside}"])


def commands(archives: Sequence[Archive], root: Path) -> str:
    """Shell commands that download the missing archives on another machine, and check them.

    Args:
        archives: archives of the catalog.
        root: the folder that DETECTRON2_DATASETS names.
    """
    missing = [archive for archive in archives if not is_unpacked(archive, root)]
    if not missing:
        return ""
    checksums = [f"{archive.sha256}  {archive.name}" for archive in missing if archive.sha256]
    return "\n".join(
        [
            "# On a machine with internet access; each of the three tools continues where it was interrupted:",
            f"mkdir -p {ARCHIVES} && cd {ARCHIVES}",
            "cat > urls.txt <<'END'",
            *(archive.url for archive in missing),
            "END",
            "wget --continue --input-file=urls.txt",
            "# or: xargs -n 1 curl --fail --location --continue-at - --remote-name < urls.txt",
            "# or: aria2c --continue=true --input-file=urls.txt",
            *(["sha256sum --check <<'END'", *checksums, "END"] if checksums else []),
            f"# Copy the archives to {root / ARCHIVES} on this machine, and run the command again without --dry-run:",
            "# it checks and unpacks them, and needs no network then.",
        ]
    )
