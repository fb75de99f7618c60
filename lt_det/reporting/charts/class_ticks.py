"""An axis with one place per class: the names of few classes, or ranks of many."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from lt_det.reporting.bucket_style import LIGHT
from lt_det.reporting.charts.base import SMALL_TEXT, shorten, text_width

MOST_NAMED = 30  # classes: more names would not be readable
ORDER = "class, from the most to the least frequent"
_LONGEST, _GAP = 22, 8  # letters of a name; points between two names
_BOTTOM, _LABEL = 44, 36  # margins with horizontal labels, and for the axis label below upright ones


class ClassTicks:
    """The x axis of a chart whose classes are at 1, 2, ..., K.

    Attributes:
        bottom: margin that the chart needs below the axis, in points.
    """

    def __init__(self, names: Sequence[str], width: float) -> None:
        """
        Args:
            names: K class names, from left to right.
            width: of the axis, in points.
        """
        self._names = [shorten(name, _LONGEST) for name in names] if len(names) <= MOST_NAMED else []
        longest = max((text_width(name, SMALL_TEXT) for name in self._names), default=0.0)
        self._upright = longest + _GAP > width / max(1, len(names))
        self.bottom = max(_BOTTOM, _LABEL + longest) if self._upright else _BOTTOM

    def draw(self, axes: Axes) -> None:
        """Set the ticks, their labels and the axis label."""
        axes.set_xlabel(ORDER)
        if not self._names:
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
            return
        axes.set_xticks(range(1, len(self._names) + 1), self._names, rotation=90 if self._upright else 0)
        axes.tick_params(axis="x", labelsize=SMALL_TEXT, labelcolor=LIGHT["ink"])
