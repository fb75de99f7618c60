"""COCO-style results as columns. A file is read in pieces: that of LVIS is a gigabyte, as objects ten times that."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from lt_det.errors import LtDetError
from lt_det.evaluation.progress import Track
from lt_det.evaluation.protocols import Task
from lt_det.io.coco_json import read_json

_PIECE = 1 << 24  # bytes
_BETWEEN = re.compile(rb"\{\s*,\s*\}")  # two detections, read from the back

_SHAPES: dict[Task, tuple[str, Any]] = {
    "bbox": ("bbox", tuple[float, float, float, float]),
    "segm": ("segmentation", Any),
}


@dataclass(frozen=True, eq=False)
class Results:
    """N detections as a results file has them.

    Attributes:
        image_ids, category_ids: (N,) whole numbers, or objects where the file may have others.
        scores: (N,)
        boxes: (N, 4) x, y, width, height in pixels, where they were asked for.
        outlines: N run lengths or polygons, where they were asked for.
        source: where they come from, for error messages.
    """

    image_ids: NDArray[Any]
    category_ids: NDArray[Any]
    scores: NDArray[np.float64]
    boxes: NDArray[np.float64] | None = None
    outlines: Sequence[Any] | None = None
    source: str | os.PathLike[str] = "results"

    def __len__(self) -> int:
        return len(self.scores)

    @classmethod
    def from_list(cls, results: Any, tasks: Sequence[Task], source: str | os.PathLike[str] = "results") -> Results:
        """
        Args:
            results: a list of dictionaries with image_id, category_id, score, and bbox or segmentation or both.
            tasks: "bbox" needs the boxes, "segm" the outlines.
            source: where they come from, for error messages.

        Raises:
            LtDetError: no list of detections, a missing field, or a score or box that is not finite numbers.
        """
        if not isinstance(results, list) or not all(isinstance(result, dict) for result in results):
            raise LtDetError(
                f"{source} is no list of detections; write COCO results: image_id, category_id, score, bbox."
            )
        needed = dict.fromkeys(("image_id", "category_id", "score"), "AP")
        for key, what in (needed | {_SHAPES[task][0]: f"{task} AP" for task in tasks}).items():
            lacking = sum(key not in result for result in results)
            if lacking:
                raise LtDetError(
                    f"{lacking} of {len(results)} detections of {source} have no '{key}'; {what} needs it in each."
                )
        for result in results:
            score = result["score"]
            if not (isinstance(score, int | float) and type(score) is not bool and abs(score) <= sys.float_info.max):
                raise LtDetError(
                    f"{source} has a detection in image {result['image_id']} with the score {str(score)[:20]!r}; write "
                    "a finite number."
                )
        return cls(
            np.fromiter((result["image_id"] for result in results), dtype=object),
            np.fromiter((result["category_id"] for result in results), dtype=object),
            np.asarray([result["score"] for result in results], dtype=np.float64),
            _boxes([result["bbox"] for result in results], source) if "bbox" in tasks else None,
            [result["segmentation"] for result in results] if "segm" in tasks else None,
            source,
        )


def load_results(file: str | os.PathLike[str], tasks: Sequence[Task], track: Track = iter) -> Results:
    """The detections of a file, with what the tasks need of each.

    Args:
        file: a json list of detections, see `Results.from_list`.
        tasks: "bbox" needs the boxes, "segm" the outlines.
        track: shows the progress.

    Raises:
        LtDetError: missing, empty or truncated file; see also `Results.from_list`.
    """
    try:
        if Path(file).is_file():  # a pipe cannot be read a second time
            return _in_pieces(Path(file), tasks, track)
    except (OSError, OverflowError, UnicodeDecodeError, RecursionError, msgspec.DecodeError):
        pass  # not the usual form: ids that are texts, or a mistake, which is told when it is read as a whole
    return Results.from_list(read_json(file, "results file"), tasks, file)


def _in_pieces(path: Path, tasks: Sequence[Task], track: Track) -> Results:
    """
    Raises:
        msgspec.DecodeError: anything but a list of detections with whole ids and finite scores and boxes.
        OverflowError: an id beyond 64 bits.
    """
    fields = [("image_id", int), ("category_id", int), ("score", float), *(_SHAPES[task] for task in tasks)]
    decoder = msgspec.json.Decoder(list[msgspec.defstruct("Detection", fields, gc=False)])  # type: ignore[misc]
    parts: list[tuple[NDArray[Any], ...]] = []
    outlines: list[Any] = []
    for piece in _pieces(path, track):
        found: list[Any] = decoder.decode(piece)
        boxes = [d.bbox for d in found] if "bbox" in tasks else []
        parts.append(
            (
                np.asarray([d.image_id for d in found], dtype=np.int64),
                np.asarray([d.category_id for d in found], dtype=np.int64),
                np.asarray([d.score for d in found], dtype=np.float64),
                np.asarray(boxes, dtype=np.float64).reshape(-1, 4),
            )
        )
        if "segm" in tasks:
            outlines += [d.segmentation for d in found]
    image_ids, category_ids, scores, all_boxes = map(np.concatenate, zip(*parts, strict=True))
    return Results(
        image_ids,
        category_ids,
        scores,
        all_boxes if "bbox" in tasks else None,
        outlines if "segm" in tasks else None,
        path,
    )


def _pieces(path: Path, track: Track) -> Iterator[bytes]:
    """A json list as several, cut between two of its objects.

    What is cut elsewhere, as inside of a text, is no json.
    """
    left, opening = b"", b""
    count = -(-path.stat().st_size // _PIECE)
    with path.open("rb") as stream:
        for _ in track(range(count)):
            text = left + stream.read(_PIECE)
            between = _BETWEEN.search(text[::-1])
            if between is None:
                left = text
                continue
            yield opening + text[: len(text) - between.end() + 1] + b"]"
            left, opening = text[len(text) - between.start() - 1 :], b"["
    yield opening + left


def _boxes(boxes: list[Any], source: str | os.PathLike[str]) -> NDArray[np.float64]:
    try:
        array = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
        fits = len(array) == len(boxes) and bool(np.isfinite(array).all())
    except (TypeError, ValueError, OverflowError):
        fits = False
    if not fits:
        raise LtDetError(
            f"{source} has a detection with a 'bbox' that is not four finite numbers; write x, y, width and height."
        )
    return array
