"""metrics.json of a resumed training."""

from __future__ import annotations

import json
import logging
from pathlib import Path

logger = logging.getLogger(__name__)


def rewind_metrics(output_dir: str, start: int) -> None:
    """Remove the lines that a killed training wrote after its last checkpoint.

    Those iterations are repeated and logged again, so that each iteration has one line. An incomplete last line is
    removed, too. The file is changed in place, because Detectron2's writer has it open for appending.

    Args:
        output_dir: OUTPUT_DIR; at an address such as s3://... nothing is changed.
        start: the first iteration of the resumed training.
    """
    path = Path(output_dir) / "metrics.json"
    if "://" in output_dir or not path.is_file():
        return
    lines = path.read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if line.endswith(b"\n") and _is_past(line, start)]
    if len(kept) < len(lines):
        try:
            with path.open("rb+") as file:
                file.write(b"".join(kept))
                file.truncate()
        except OSError as error:
            logger.warning(f"{path} cannot be changed ({error.strerror}): some iterations will have two lines in it.")


def _is_past(line: bytes, start: int) -> bool:
    """Whether a line is of an earlier iteration, or of the evaluation at the end of a training that is prolonged.

    That evaluation is logged under the number of the next iteration, which has no learning rate yet.
    """
    try:
        values = json.loads(line)
        iteration = int(values["iteration"])
    except (ValueError, KeyError, TypeError):
        return False
    at_end = "lr" not in values and any(name.endswith("/AP") for name in values)
    return iteration < start or (iteration == start and at_end)
