"""The detections of an evaluation, from the file that it names, as long as that is the file that was evaluated."""

from __future__ import annotations

from pathlib import Path

import msgspec

from lt_det.errors import LtDetError
from lt_det.evaluation.io.coco_results import Results, load_results
from lt_det.evaluation.schema import Evaluation


def evaluated_results(evaluation: Evaluation, folder: Path) -> Results:
    """
    Args:
        evaluation: see `lt_det.evaluation.schema`.
        folder: of the ``evaluation.json``; ``results`` is relative to it.

    Returns:
        The boxes.

    Raises:
        LtDetError: there is no such file, it cannot be read, or another one has been written to its place, such as that
            of the next detector.
    """
    if not evaluation.results:
        raise LtDetError("the evaluation does not name its results.")
    file, size = folder / evaluation.results, evaluation.results_size
    if size is not msgspec.UNSET and file.is_file() and file.stat().st_size != size:
        raise LtDetError(f"{file} is not the file that was evaluated, which had {size} bytes; evaluate again.")
    return load_results(file, ["bbox"])
