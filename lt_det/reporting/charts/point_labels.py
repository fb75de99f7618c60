"""Names beside the points of a chart, where there is room for them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from lt_det.reporting.bucket_style import LIGHT
from lt_det.reporting.charts.base import SMALL_TEXT, shorten, text_width

_AWAY, _HEIGHT, _INSET = 10, 13, 3  # distance of a label, its height, and the margin within the axes
# Where the label's middle lies from the point: in label widths and in points.
_PLACES = ((0.5, 0), (-0.5, 0), (0.5, 14), (-0.5, 14), (0.5, -14), (-0.5, -14), (0, 17), (0, -17))

_Box = tuple[float, float, float, float]  # left, bottom, right, top


def label_points(
    axes: Axes, named: Sequence[tuple[float, float, str]], points: Sequence[tuple[float, float, float]]
) -> None:
    """Write the names in this order; a name that would cover a point or another name is left out.

    Args:
        axes: with their final limits; the figure has 72 dots per inch, so that a dot is a point.
        named: x, y and name.
        points: x, y and radius of everything that a label must not cover.
    """
    frame = axes.get_window_extent()
    centers = [axes.transData.transform((x, y)) for x, y, _ in points]
    obstacles: list[_Box] = [
        (center[0] - radius, center[1] - radius, center[0] + radius, center[1] + radius)
        for center, (_, _, radius) in zip(centers, points, strict=True)
    ]
    for x, y, name in named:
        words = shorten(name, 30)
        width = text_width(words, SMALL_TEXT)
        at = axes.transData.transform((x, y))
        for across, up in _PLACES:
            sideways = across * width + (_AWAY if across > 0 else -_AWAY if across < 0 else 0)
            box = _box_around(at[0] + sideways, at[1] + up, width)
            # Otherwise a reader takes it for the name of another point.
            nearest = _distance(box, at) <= min(_distance(box, center) for center in centers) + 1
            inside = (
                box[0] >= frame.x0 + _INSET
                and box[2] <= frame.x1 - _INSET
                and box[1] >= frame.y0
                and box[3] <= frame.y1
            )
            if inside and nearest and not any(_overlap(box, other) for other in obstacles):
                obstacles.append(box)
                axes.annotate(
                    words, (x, y), (sideways, up), textcoords="offset points",
                    ha="center", va="center", fontsize=SMALL_TEXT, color=LIGHT["ink"], zorder=6,
                )  # fmt: skip
                break


def _box_around(x: float, y: float, width: float) -> _Box:
    return (x - width / 2, y - _HEIGHT / 2, x + width / 2, y + _HEIGHT / 2)


def _distance(box: _Box, point: NDArray[np.float64]) -> float:
    across = max(box[0] - point[0], 0, point[0] - box[2])
    up = max(box[1] - point[1], 0, point[1] - box[3])
    return math.hypot(across, up)


def _overlap(a: _Box, b: _Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
