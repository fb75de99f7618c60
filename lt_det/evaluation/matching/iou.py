"""Intersection over union of pairs of boxes or masks, equal to pycocotools' to the last bit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as mask_utils

Floats = NDArray[np.float64]


def box_iou(detected: Floats, true: Floats, crowd: NDArray[np.bool_]) -> Floats:
    """(P, 4) and (P, 4) boxes x, y, width, height to (P,); of a crowd, the share of the detection that it covers."""
    width = np.minimum(detected[:, 0] + detected[:, 2], true[:, 0] + true[:, 2]) - np.maximum(
        detected[:, 0], true[:, 0]
    )
    height = np.minimum(detected[:, 1] + detected[:, 3], true[:, 1] + true[:, 3]) - np.maximum(
        detected[:, 1], true[:, 1]
    )
    overlap = (width > 0) & (height > 0)
    intersection = np.where(overlap, width * height, 0.0)
    area = detected[:, 2] * detected[:, 3]
    union = np.where(crowd, area, area + true[:, 2] * true[:, 3] - intersection)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(overlap, intersection / union, 0.0)


def run_lengths(outline: Any, height: int, width: int) -> Any:
    """Polygons or uncompressed run lengths of an annotation to pycocotools' compressed run lengths."""
    if isinstance(outline, list):
        return mask_utils.merge(mask_utils.frPyObjects(outline, height, width))
    if isinstance(outline["counts"], list):
        return mask_utils.frPyObjects(outline, height, width)
    return outline


def mask_iou(detected: Sequence[Any], true: Sequence[Any], crowd: NDArray[np.bool_]) -> Floats:
    """D and G run lengths of one image to (D, G)."""
    return np.asarray(mask_utils.iou(list(detected), list(true), crowd.astype(np.uint8).tolist())).reshape(
        len(detected), len(true)
    )
