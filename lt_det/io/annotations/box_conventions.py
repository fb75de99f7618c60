"""Recognize boxes that are not [x, y, width, height] in pixels by how they lie in their images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Annotated boxes often exceed the image by a rounding error; more than this many pixels is a mistake.
BORDER_TOLERANCE = 1.0
_MAX_MISFITS = 0.01  # fraction of boxes that another convention may not fit, where it explains the others
_TOO_MANY = 0.5  # fraction of boxes beyond their image: whole objects of which a part is seen are fewer

# Boxes that use no more than half of their images. Objects reach as far, relative to their image, in large images.
_MIN_UNUSED, _MIN_UNUSED_BOXES = 0.25, 20  # fraction and number of boxes in images twice as large as any box reaches
_UNLIKE = 1.25  # ratio of the sizes of the largest and the smallest image
_NEARLY = 0.9  # of 100 or 1000, which the largest of percent and thousandths reach
_TOO_MANY_TINY, _MIN_TINY = 0.5, 3  # fraction and number of boxes of at most one pixel

_OTHERS = {
    "corners": "they are corners [x1, y1, x2, y2]; write [x1, y1, x2 - x1, y2 - y1]",
    "centers": "they are [x, y, width, height] with the center of the box; subtract half of width and height",
    "corners y first": "they are corners [y1, x1, y2, x2]; write [x1, y1, x2 - x1, y2 - y1]",
    # Both fit the same boxes.
    "swapped sizes": "they have y first ([y, x, height, width]), or 'width' and 'height' of the images are swapped; "
    "compare a size with its image file, and swap what is wrong",
}


class BoxConventions:
    """Counts how the boxes of a document fit their images under each convention."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._sides: Counter[float] = Counter()  # number of boxes by the longer side of their image
        self._furthest = 0.0  # right or lower end of a box

    def add(self, boxes: Array, sizes: Array) -> None:
        """
        Args:
            boxes: (N, 4) as written.
            sizes: (N, 2) width and height of their images.
        """
        first, second = boxes[:, :2], boxes[:, 2:]
        inside = ((boxes >= 0) & (boxes <= 1)).all(axis=1) & (boxes % 1 > 0).any(axis=1) & (second > 0).all(axis=1)
        self._counts["all"] += len(boxes)
        self._counts["fractions"] += int((inside & (sizes > 2).all(axis=1)).sum())
        self._counts["tiny"] += int((((second > 0) & (second <= 1)).all(axis=1) & ~inside).sum())
        self._sides.update(sizes.max(axis=1).tolist())
        self._furthest = max(self._furthest, float((first + second).max(initial=0.0)))
        filled = (second > 0).all(axis=1)  # boxes without area have a count of their own
        self._counts["as written"] += _outside(first[filled], (first + second)[filled], sizes[filled])
        self._counts["corners"] += _outside(first, second, sizes)
        self._counts["centers"] += _outside(first - second / 2, first + second / 2, sizes)
        self._counts["corners y first"] += _outside(first[:, ::-1], second[:, ::-1], sizes)
        self._counts["swapped sizes"] += _outside(first, first + second, sizes[:, ::-1])

    def mistake(self, min_fraction: float, min_boxes: int) -> str | None:
        """What is wrong with the boxes as a whole; None if nothing is.

        Args:
            min_fraction: of the boxes, and
            min_boxes: boxes that do not fit before anything is said.
        """
        total = self._counts["all"]
        enough = max(min_fraction * total, min_boxes)
        if self._counts["fractions"] >= enough:
            return (
                f"{self._counts['fractions']} of {total} boxes lie within the first pixel of their image, so they are "
                "fractions of the image; multiply them by its width and height"
            )
        outside = self._counts["as written"]
        if outside < enough:
            return None
        what = f"{outside} of {total} boxes exceed their image"
        best = min(_OTHERS, key=lambda name: self._counts[name])
        if self._counts[best] <= _MAX_MISFITS * total:
            return f"{what}: {_OTHERS[best]}"
        if outside >= _TOO_MANY * total:
            return (
                f"{what}: boxes and image sizes belong to different resolutions; write both in the pixels of the files"
            )
        return None

    def doubts(self) -> Iterator[str]:
        """What may be wrong with boxes that fit their images: right boxes of unusual data look the same."""
        total, furthest = self._counts["all"], self._furthest
        if self._counts["tiny"] >= max(_TOO_MANY_TINY * total, _MIN_TINY):
            yield (
                f"{self._counts['tiny']} of {total} boxes are at most one pixel wide and high: they may be points, or "
                "width and height may be fractions of the image; write boxes [x, y, width, height] in pixels"
            )
        unused = sum(number for side, number in self._sides.items() if side >= 2 * furthest)
        if furthest <= 1 or unused < max(_MIN_UNUSED * total, _MIN_UNUSED_BOXES):
            return
        units = {100: "percent of the image", 1000: "thousandths of the image"}
        unit = next((words for parts, words in units.items() if _NEARLY * parts <= furthest <= parts + 1), None)
        # In images of one size, objects may all be in one corner, as a camera sees them.
        if unit is not None or max(self._sides) >= _UNLIKE * min(self._sides):
            yield (
                f"none of the {total} boxes reaches further than {furthest:.0f} pixels to the right or down, but the "
                f"images of {unused} of them are twice as large or larger (up to {max(self._sides):.0f} pixels): boxes "
                f"may be in {unit or 'the pixels of resized images'}; write them in the pixels of the files"
            )


def _outside(low: Array, high: Array, sizes: Array) -> int:
    """How many boxes are empty or exceed their image."""
    fits = (high > low) & (low >= -BORDER_TOLERANCE) & (high <= sizes + BORDER_TOLERANCE)
    return int((~fits.all(axis=1)).sum())
