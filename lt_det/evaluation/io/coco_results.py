"""COCO results as columns. A file is read in pieces: an LVIS results file has a gigabyte, its Python objects ten."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from lt_det.errors import LtDetError
from lt_det.evaluation.io.result_fields import result_boxes, result_ids, result_scores
from lt_det.evaluation.progress import Track
from lt_det.evaluation.protocols import Task
from lt_det.io.annotations.coco_json import read_json
from lt_det.io.annotations.fields import short_repr

_PIECE_SIZE = 1 << 24  # bytes
_SHOWN_KEYS = 8  # in a message
_REVERSED_BOUNDARY = re.compile(rb"\{\s*,\s*\}")  # between two detections, in reversed text

_FIELDS: dict[Task, tuple[str, Any]] = {
    "bbox": ("bbox", tuple[float, float, float, float]),
    "segm": ("segmentation", Any),
}


_NEEDED_FOR: dict[Task, str] = {"bbox": "bbox AP, or area_from box,", "segm": "segm AP"}


@dataclass(frozen=True, eq=False)
class Results:
    """N detections of a results file, or of a list with the same fields.

    Attributes:
        image_ids, category_ids: (N,) integers, or objects if the file may have other ids.
        scores: (N,)
        boxes: (N, 4) x, y, width, height in pixels; None unless a task needs them.
        segmentations: N RLEs or polygon lists; None unless a task needs them.
        source: file or name of the list, for error messages.
        written_as: "xywh" for COCO results, "xyxy" for dictionaries of images, whose boxes have been converted.
    """

    image_ids: NDArray[Any]
    category_ids: NDArray[Any]
    scores: NDArray[np.float64]
    boxes: NDArray[np.float64] | None = None
    segmentations: Sequence[Any] | None = None
    source: str | os.PathLike[str] = "results"
    written_as: Literal["xywh", "xyxy"] = "xywh"

    def __len__(self) -> int:
        return len(self.scores)

    @classmethod
    def from_list(cls, results: Any, tasks: Sequence[Task], source: str | os.PathLike[str] = "results") -> Results:
        """
        Args:
            results: a list of dictionaries with image_id, category_id, score, and bbox or segmentation or both.
            tasks: "bbox" needs the boxes, "segm" the segmentations.
            source: file or name of the list, for error messages.

        Raises:
            LtDetError: it is not a list of detections, or a field is missing or has a value of another type.
        """
        if not isinstance(results, list) or not all(isinstance(result, dict) for result in results):
            raise LtDetError(f"{source} is not a list of detections; {_advice_for_another_value(results)}.")
        required = dict.fromkeys(("image_id", "category_id", "score"), "AP")
        for key, metric in (required | {_FIELDS[task][0]: _NEEDED_FOR[task] for task in tasks}).items():
            missing = sum(key not in result for result in results)
            if missing:
                raise LtDetError(
                    f"{missing} of {len(results)} detections of {source} have no '{key}'"
                    f"{_advice_for_missing(results, key, metric)}."
                )
        return cls(
            result_ids(results, "image_id", source),
            result_ids(results, "category_id", source),
            result_scores(results, source),
            result_boxes(results, source) if "bbox" in tasks else None,
            [result["segmentation"] for result in results] if "segm" in tasks else None,
            source,
        )


def _advice_for_another_value(value: Any) -> str:
    """What to do with a value that is no list of detections, as the end of a sentence."""
    for key, records in value.items() if isinstance(value, dict) else ():
        if isinstance(records, list) and records and isinstance(records[0], dict) and "image_id" in records[0]:
            if "score" in records[0]:
                return f"its '{key}' is one: write this list alone"
            return f"its '{key}' have no 'score': name the detections of a detector, and not annotations"
    return "write COCO results: image_id, category_id, score, bbox"


def _advice_for_missing(results: Sequence[dict[str, Any]], key: str, metric: str) -> str:
    """Why a field is needed and what may be meant, as the end of a sentence."""
    without = [result for result in results if key not in result]
    if key == "bbox" and all("segmentation" in result for result in without):
        return "; for masks alone, evaluate segm alone (--iou segm; Python: iou='segm', area_from='mask')"
    keys = ", ".join(map(short_repr, list(without[0])[:_SHOWN_KEYS])) or "no key"
    return f"; {metric} needs it in each, and the first of them has {keys}"


def load_results(file: str | os.PathLike[str], tasks: Sequence[Task], track: Track = iter) -> Results:
    """Read a results file, with the fields that the tasks need.

    Args:
        file: a json list of detections, see `Results.from_list`.
        tasks: "bbox" needs the boxes, "segm" the segmentations.
        track: wraps the loop over the pieces of the file, to show its progress.

    Raises:
        LtDetError: the file is missing, empty or truncated; see also `Results.from_list`.
    """
    try:
        if Path(file).is_file():  # a pipe cannot be read a second time
            return _load_in_pieces(Path(file), tasks, track)
    except (OSError, OverflowError, UnicodeDecodeError, RecursionError, msgspec.DecodeError):
        pass  # unusual ids such as strings, or a mistake, which is reported when the file is read as a whole
    return Results.from_list(read_json(file, "results file"), tasks, file)


def _load_in_pieces(path: Path, tasks: Sequence[Task], track: Track) -> Results:
    """
    Raises:
        msgspec.DecodeError: the file is not a list of detections with integer ids and finite scores and boxes.
        OverflowError: an id exceeds 64 bits.
    """
    fields = [("image_id", int), ("category_id", int), ("score", float), *(_FIELDS[task] for task in tasks)]
    decoder = msgspec.json.Decoder(list[msgspec.defstruct("Detection", fields, gc=False)])  # type: ignore[misc]
    parts: list[tuple[NDArray[Any], ...]] = []
    segmentations: list[Any] = []
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
            segmentations += [d.segmentation for d in found]
    image_ids, category_ids, scores, all_boxes = map(np.concatenate, zip(*parts, strict=True))
    return Results(
        image_ids,
        category_ids,
        scores,
        all_boxes if "bbox" in tasks else None,
        segmentations if "segm" in tasks else None,
        path,
    )


def _pieces(path: Path, track: Track) -> Iterator[bytes]:
    """Yield a json list as several shorter ones, cut between two of its objects.

    A cut that was inside a string instead makes a piece that is not valid json.
    """
    rest, opening = b"", b""
    count = -(-path.stat().st_size // _PIECE_SIZE)
    with path.open("rb") as stream:
        for _ in track(range(count)):
            text = rest + stream.read(_PIECE_SIZE)
            boundary = _REVERSED_BOUNDARY.search(text[::-1])
            if boundary is None:
                rest = text
                continue
            yield opening + text[: len(text) - boundary.end() + 1] + b"]"
            rest, opening = text[len(text) - boundary.start() - 1 :], b"["
    yield opening + rest
