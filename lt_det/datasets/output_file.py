"""Whether an annotation file may be written."""

from __future__ import annotations

from pathlib import Path

from lt_det.errors import LtDetError


def check_output(out: Path, json_file: Path, force: bool) -> None:
    """Refuse to write over a file.

    Args:
        out: file to write.
        json_file: annotation file that is read, which is never replaced.
        force: whether another file may be replaced.

    Raises:
        LtDetError: `out` is the annotation file, or exists and `force` is False.
    """
    if not out.exists():
        return
    if json_file.exists() and out.samefile(json_file):
        raise LtDetError(f"--out would replace the annotation file {json_file}; choose another place.")
    if not force:
        raise LtDetError(f"{out} already exists; choose another --out, or add --force to overwrite it.")
