"""Which checkpoints a folder holds, from the names of its files."""

from __future__ import annotations

import os
import re
from pathlib import Path

LAST_CHECKPOINT = "last_checkpoint"

_LONGEST_NAME = 255  # bytes; more is no file name
_ITERATION = re.compile(r"model_(\d+)\.pth")


def named_checkpoint(folder: Path) -> Path | None:
    """The checkpoint that ``last_checkpoint`` names, whether or not it exists.

    None if there is no such file, if it cannot be read, or if it holds anything but the name of a file in the folder.
    """
    try:
        with (folder / LAST_CHECKPOINT).open("rb") as file:
            name = file.read(4 * _LONGEST_NAME).decode().strip()
    except (OSError, UnicodeDecodeError):
        return None
    is_name = name == Path(name).name and name not in ("", "..") and name.isprintable()
    return folder / name if is_name and len(name.encode()) <= _LONGEST_NAME else None


def checkpoints_in(folder: Path) -> list[Path]:
    """Checkpoints by the names that a training gives them: ``model_final.pth``, then from the latest iteration on.

    ``model_best.pth`` comes last; it may be the only one, where evaluations are more frequent than checkpoints.

    Files that cannot be followed (a link to itself) are among them, because a training must not replace them silently.
    """
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    iterations = {match[0]: int(match[1]) for match in map(_ITERATION.fullmatch, names) if match}
    final = ["model_final.pth"] if "model_final.pth" in names else []
    best = ["model_best.pth"] if "model_best.pth" in names else []
    descending = sorted(iterations, key=lambda name: iterations[name], reverse=True)
    return [folder / name for name in [*final, *descending, *best]]


def last_checkpoint_in(folder: Path) -> Path | None:
    """The checkpoint that ``last_checkpoint`` names, or without such a file the first of `checkpoints_in`."""
    named = named_checkpoint(folder)
    return named if named is not None and named.is_file() else next(iter(checkpoints_in(folder)), None)


def holds_checkpoint(folder: Path) -> bool:
    """Whether a training has saved a checkpoint in the folder, even if ``last_checkpoint`` is missing or damaged."""
    return os.path.lexists(folder / LAST_CHECKPOINT) or bool(checkpoints_in(folder))


def iteration_of(path: Path, saved: object) -> int | None:
    """The iteration after which a checkpoint was saved; None if neither its content nor its name says it.

    Args:
        path: of the checkpoint.
        saved: the ``iteration`` in it.
    """
    if isinstance(saved, int) and not isinstance(saved, bool):
        return saved
    match = _ITERATION.fullmatch(path.name)
    return int(match[1]) if match else None
