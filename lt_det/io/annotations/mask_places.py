"""Recognize polygons that lie elsewhere than the box of the same object: in other units, or with x and y exchanged."""

from __future__ import annotations

from collections.abc import Sequence

_LOOKED_AT = 5000  # objects of a file: a mistake of its format shows in the first ones
_APART = 0.1  # overlap, as a fraction of the smaller one: polygons of the visible part lie in the box of the whole
_ALIKE = 0.5  # overlap, as a fraction of the larger one

_Corners = tuple[float, float, float, float]


class MaskPlaces:
    """Counts where the polygons of a document lie."""

    def __init__(self) -> None:
        self._total = self._apart = self._exchanged = 0

    def add(self, polygons: Sequence[Sequence[float]], box: Sequence[float]) -> None:
        """
        Args:
            polygons: of one object, each as [x, y, x, y, ...].
            box: its [x, y, width, height], with an area.
        """
        if self._total >= _LOOKED_AT:
            return
        self._total += 1
        x0, y0 = (min(min(polygon[start::2]) for polygon in polygons) for start in (0, 1))
        x1, y1 = (max(max(polygon[start::2]) for polygon in polygons) for start in (0, 1))
        x1, y1 = max(x1, x0 + 1), max(y1, y0 + 1)  # a polygon may be a line, or a point
        corners = (box[0], box[1], box[0] + box[2], box[1] + box[3])
        smaller, larger = sorted(((x1 - x0) * (y1 - y0), box[2] * box[3]))
        if _common((x0, y0, x1, y1), corners) < _APART * smaller:
            self._apart += 1
            self._exchanged += _common((y0, x0, y1, x1), corners) > _ALIKE * larger

    def mistake(self, min_fraction: float, min_number: int) -> str | None:
        """What is wrong with the polygons as a whole; None if nothing is.

        Args:
            min_fraction: of the objects, and
            min_number: objects whose polygons lie elsewhere before anything is said.
        """
        if self._apart < max(min_fraction * self._total, min_number):
            return None
        why = "perhaps in the pixels of a resized image or of a crop; write both in pixels of the image file"
        if 2 * self._exchanged > self._apart:
            why = "they have y before x; write [x, y, x, y, ...]"
        of = f"the first {self._total}" if self._total == _LOOKED_AT else f"{self._total}"
        return (
            f"the 'segmentation' polygons of {self._apart} of {of} objects lie elsewhere than their 'bbox', so masks "
            f"are learned and evaluated in the wrong place: {why}"
        )


def _common(first: _Corners, second: _Corners) -> float:
    """The area that two boxes have in common."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    return max(width, 0.0) * max(height, 0.0)
