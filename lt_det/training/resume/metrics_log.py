"""The log of a training that is resumed."""

from __future__ import annotations

import json
from pathlib import Path


def rewind_metrics(output_dir: str, start: int) -> None:
    """Take the lines of iterations that a killed training was ahead of its checkpoint out of metrics.json.

    They are written anew: each iteration has one line, also where the resumed run differs. A line that was half
    written goes, too. In place, because Detectron2's writer has the file open, to append.

    Args:
        output_dir: of the training; an address such as s3://... is left as it is.
        start: the first iteration that is to come.
    """
    path = Path(output_dir) / "metrics.json"
    if "://" in output_dir or not path.is_file():
        return
    lines = path.read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if line.endswith(b"\n") and _is_past(line, start)]
    if len(kept) < len(lines):
        with path.open("rb+") as file:
            file.write(b"".join(kept))
            file.truncate()


def _is_past(line: bytes, start: int) -> bool:
    """Of an iteration before, or the evaluation at the end of a training that is prolonged, which comes behind it."""
    try:
        values = json.loads(line)
        iteration = int(values["iteration"])
    except (ValueError, KeyError, TypeError):
        return False
    return iteration < start or (iteration == start and any(name.endswith("/AP") for name in values))
