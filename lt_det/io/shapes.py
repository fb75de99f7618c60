"""Boxes, polygons and RLE of annotations: which of them can be used."""

from __future__ import annotations

import math
from typing import Any

from lt_det.io.rle import covered_pixels

LARGEST = 10**6  # pixels; much larger coordinates or sizes crash pycocotools
_NUMBERS = (int, float)


def box_polygon(box: list[float]) -> list[float]:
    """[x, y, width, height] as a polygon."""
    x, y, width, height = box
    return [x, y, x + width, y, x + width, y + height, x, y + height]


def usable_segmentation(annotation: dict[str, Any]) -> list[list[float]] | dict[str, Any] | None:
    """An annotation's RLE or its polygons with three or more points; None if it has neither, or an invalid one on which
    pycocotools would crash or hang."""
    segmentation = annotation.get("segmentation")
    if isinstance(segmentation, dict):
        return segmentation if _is_rle(segmentation) else None
    if not isinstance(segmentation, list):
        return None
    return [polygon for polygon in segmentation if is_polygon(polygon)] or None


def _is_rle(segmentation: dict[str, Any]) -> bool:
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if not (isinstance(size, list | tuple) and len(size) == 2 and all(isinstance(side, int) for side in size)):
        return False
    height, width = size
    if not (1 <= height <= LARGEST and 1 <= width <= LARGEST and height * width < 2**32):
        return False
    if isinstance(counts, str | bytes):
        return bool(covered_pixels([counts])[0] == height * width)
    if not isinstance(counts, list):
        return False
    try:
        return bool(min(counts) >= 0 and sum(map(int, counts)) == height * width)
    except (TypeError, ValueError, OverflowError):
        return False


def is_polygon(polygon: Any) -> bool:
    """Whether `polygon` is a list [x, y, x, y, ...] of three or more points."""
    return isinstance(polygon, list) and len(polygon) >= 6 and len(polygon) % 2 == 0 and are_pixels(polygon)


def is_flat_polygon(segmentation: list[Any]) -> bool:
    """Whether a segmentation is the polygon [x, y, x, y, ...] itself, and not a list of polygons."""
    return all(type(number) in _NUMBERS for number in segmentation) and is_polygon(segmentation)


def has_area(box: Any, size: tuple[float, float] | None = None) -> bool:
    """Whether some of a box [x, y, width, height] is inside its image; True for what is no such box.

    Detectron2's mapper clips boxes to their image and drops those without a width or height.

    Args:
        box: in pixels.
        size: width and height of the image; None: not known.
    """
    try:
        x, y, width, height = box
        if width <= 0 or height <= 0:
            return False
        return size is None or (x + width > 0 and y + height > 0 and x < size[0] and y < size[1])
    except (TypeError, ValueError):
        return True


def are_pixels(numbers: list[Any]) -> bool:
    """Whether all numbers are finite and at most `LARGEST` in size."""
    try:  # hypot is the fastest check of every element
        return math.hypot(*numbers) <= LARGEST or all(abs(number) <= LARGEST for number in numbers)
    except (TypeError, OverflowError):
        return False
