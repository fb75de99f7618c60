"""One type for each field of a detection, whatever type a file wrote; a value that means nothing is refused."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from lt_det.errors import LtDetError
from lt_det.io.annotations.fields import same_id, short_repr
from lt_det.io.shapes import LARGEST
from lt_det.terminal import count_of

Source = str | os.PathLike[str]


def result_ids(results: Sequence[dict[str, Any]], key: str, source: Source) -> NDArray[Any]:
    """(N,) objects: whole numbers and texts; `matched_ids` gives them the type of the ground truth's.

    Args:
        results: N detections with this key.
        key: "image_id" or "category_id".
        source: file or name of the list, for error messages.

    Raises:
        LtDetError: a value is no single id; the message names the detection and the key.
    """
    ids = [result[key] for result in results]
    for index, value in enumerate(ids):
        if type(value) is not int and type(value) is not str:
            ids[index] = id_ = same_id(_plain(value), int)
            if id_ is None:
                _refuse(results, index, key, "write a single id", source)
    return np.fromiter(ids, dtype=object, count=len(ids))


def matched_ids(ids: NDArray[Any], known: NDArray[Any]) -> NDArray[Any]:
    """Ids with the type of the known ones: "7" and 7 are one id."""
    if ids.dtype.kind == "i" and known.dtype.kind == "i":
        return ids
    kinds = {type(id_) for id_ in known.tolist()}
    if len(kinds) != 1:
        return ids
    kind = kinds.pop()
    same = [value if type(value) is kind else same_id(value, kind) for value in ids.tolist()]
    return np.fromiter(same, dtype=object, count=len(same))


def result_scores(results: Sequence[dict[str, Any]], source: Source) -> NDArray[np.float64]:
    """(N,) finite scores.

    Raises:
        LtDetError: a score is something else; the message names the detection.
    """
    scores = [result["score"] for result in results]
    for index, score in enumerate(scores):
        if type(score) is not float or not math.isfinite(score):
            if not _is_finite(_plain(score)):
                _refuse(results, index, "score", "write a finite number", source)
            scores[index] = float(score)
    return np.asarray(scores, dtype=np.float64)


def result_boxes(results: Sequence[dict[str, Any]], source: Source) -> NDArray[np.float64]:
    """(N, 4) boxes of four finite numbers.

    Raises:
        LtDetError: a box is something else; the message names the detection.
    """
    boxes = []
    for index, result in enumerate(results):
        box = result["bbox"]
        box = box.tolist() if hasattr(box, "tolist") else box
        if not isinstance(box, list | tuple) or len(box) != 4 or not all(_is_finite(_plain(x)) for x in box):
            _refuse(results, index, "bbox", "write four finite numbers: x, y, width and height", source)
        boxes.append(box)
    return np.asarray(boxes, dtype=np.float64).reshape(-1, 4)


def check_pixels(boxes: NDArray[np.float64], source: Source) -> None:
    """Raise LtDetError if a number of (N, 4) boxes exceeds `LARGEST`, as in the ground truth; areas would overflow."""
    beyond = np.flatnonzero((np.abs(boxes) > LARGEST).any(axis=1))
    if len(beyond):
        raise LtDetError(
            f"{source} has {count_of(len(beyond), 'detection')} with a 'bbox' of more than {LARGEST} pixels, the first "
            f"is number {beyond[0]}, counted from 0; write pixels of the image."
        )


def _plain(value: Any) -> Any:
    """A number of NumPy as one of Python."""
    return value.item() if isinstance(value, np.generic) else value


def _is_finite(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond all floats
        return False


def _refuse(results: Sequence[dict[str, Any]], index: int, key: str, advice: str, source: Source) -> NoReturn:
    result = results[index]
    where = "" if key == "image_id" else f" in image {short_repr(result['image_id'])}"
    raise LtDetError(
        f"{source} has a detection{where} (number {index}, counted from 0) with '{key}' {short_repr(result[key])}; "
        f"{advice}."
    )
