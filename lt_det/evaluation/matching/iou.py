"""Intersection over union of boxes and of masks, equal to pycocotools' to the last bit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as mask_utils

from lt_det.evaluation._arrays import Bools, Floats


def box_iou(detected: Floats, true: Floats, crowd: Bools) -> Floats:
    """IoU of P pairs of boxes.

    Args:
        detected, true: (P, 4) as x, y, width, height.
        crowd: (P,) where the object is a crowd, the fraction of the detection that it covers is returned instead.

    Returns:
        (P,)
    """
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


def to_rle(segmentation: Any, height: int, width: int) -> Any:
    """Polygons or uncompressed RLE to compressed RLE; compressed RLE is returned as it is."""
    if isinstance(segmentation, list):
        return mask_utils.merge(mask_utils.frPyObjects(segmentation, height, width))
    if isinstance(segmentation["counts"], list):
        return mask_utils.frPyObjects(segmentation, height, width)
    return segmentation


def mask_iou(detected: Sequence[Any], true: Sequence[Any], crowd: Bools) -> Floats:
    """IoU of every pair of D detected and G true masks of one image, all compressed RLE, as (D, G)."""
    iou = mask_utils.iou(list(detected), list(true), crowd.astype(np.uint8).tolist())
    return np.asarray(iou).reshape(len(detected), len(true))
