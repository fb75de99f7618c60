"""Axes with one point per class, from the most to the least frequent, in the marker and color of its bucket."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter

from lt_det.evaluation.diagnosis_schema import Diagnosis
from lt_det.evaluation.schema import Numbers
from lt_det.reporting.bucket_style import LIGHT, NO_BUCKET, Style, bucket_styles
from lt_det.reporting.charts.base import PLAIN, Panel, new_axes, set_log_ticks, shorten
from lt_det.reporting.charts.class_ticks import ClassTicks
from lt_det.reporting.diagnosis.groups import frequency_order, number
from lt_det.terminal import count_of

HALF, WHOLE = 440, 1000  # width of a figure that stands beside another one, and of one that stands alone
_HEIGHT, _RIGHT, _BOTTOM = 250, 22, 44
_MEDIAN_DASHES: tuple[Any, Any] = ("-", (0, (2, 1)))  # filled and hollow
_MANY = 150  # classes, from which on each gets a smaller point


class ClassAxes:
    """A figure to which series of one value per class are added.

    Args:
        diagnosis: gives the classes and buckets.
        y_label: of the axis.
        series: names of the series in the legend: the first has filled markers, the second hollow ones.
        log: whether the y axis is logarithmic; values of 0 and below have their place at the bottom.
        by_count: the x axis is the training count on a log scale, instead of the rank of the class.
        legend: further entries.
        width: see `HALF` and `WHOLE`.
    """

    def __init__(
        self,
        diagnosis: Diagnosis,
        y_label: str,
        series: Sequence[str] = (),
        *,
        log: bool = False,
        by_count: bool = False,
        legend: Sequence[tuple[str, Artist]] = (),
        width: float = HALF,
    ) -> None:
        self.diagnosis = diagnosis
        self.log = log
        self.labels: list[str] = []
        self._series = series
        self._styles = styles_of(diagnosis)
        self._shown: list[float] = []
        self._size, self._edge = point_size(diagnosis)
        order = frequency_order(diagnosis)
        self.x = np.empty(len(order))
        self.x[order] = np.arange(1, len(order) + 1)
        if by_count:
            self.x = np.array([max(entry.count, 0.5) for entry in diagnosis.classes])
        left = 74 if log else 56
        ticks = ClassTicks([diagnosis.classes[k].name for k in order], width - left - _RIGHT)
        margins = {"left": left, "right": _RIGHT, "bottom": _BOTTOM if by_count else ticks.bottom}
        self.figure, self.axes = new_axes(width, _HEIGHT, [*self._legend(), *legend], **margins)
        self._set_axes(y_label, None if by_count else ticks)

    def add(self, values: Numbers, hollow: bool = False, explain: Callable[[int], str] | None = None) -> None:
        """Add a point for each class with a value, and a line at the median of each bucket.

        Args:
            values: (K,).
            hollow: whether the markers are.
            explain: words for the value of a class in its label; None: the name of the series and the value.
        """
        name = self._series[int(hollow)] if self._series else ""
        for bucket, style in self._styles.items():
            members = [
                k for k, entry in enumerate(self.diagnosis.classes) if entry.bucket == bucket and values[k] is not None
            ]
            if not members:
                continue
            members.sort(key=lambda k: self.x[k])
            known = [float(value) for k in members if (value := values[k]) is not None]
            points = self.axes.scatter(
                self.x[members],
                self._placed(known),
                s=self._size,
                marker=style.marker,
                facecolor=LIGHT["paper"] if hollow else style.color,
                edgecolor=style.color if hollow else LIGHT["paper"],
                linewidth=2 * self._edge if hollow else self._edge,
                zorder=3 if hollow else 4,
            )
            points.set_urls([f"point-{len(self.labels) + place}" for place in range(len(members))])
            for k, value in zip(members, known, strict=True):
                words = explain(k) if explain else f"{name} {number(value)}".strip()
                entry = self.diagnosis.classes[k]
                counted = count_of(
                    entry.count, "training instance" if entry.instances is not None else "training image"
                )
                self.labels.append(f"{entry.name}: {words}; {counted}, {bucket or 'no bucket'}")
            if len(members) > 1:
                self._draw_median(members, known, hollow)
            self._shown += known

    def panel(self, name: str, alt: str) -> Panel:
        """The finished figure."""
        if self.log:
            self._set_log_axis()
        return Panel(name, alt, self.figure, tuple(self.labels))

    def _placed(self, values: list[float]) -> list[float]:
        """On a log axis what is not positive lies just below the smallest positive value."""
        if not self.log:
            return values
        floor = min((value for value in values if value > 0), default=1.0) / 1.4
        return [value if value > 0 else floor for value in values]

    def _draw_median(self, members: list[int], values: list[float], hollow: bool) -> None:
        median = float(np.median(values))
        if self.log and median <= 0:
            return
        ends = [min(self.x[members]), max(self.x[members])]
        look: dict[str, Any] = {"color": LIGHT["soft"], "linestyle": _MEDIAN_DASHES[hollow], "linewidth": 1.6}
        self.axes.add_line(Line2D(ends, [median] * 2, zorder=2, **look))

    def _legend(self) -> list[tuple[str, Artist]]:
        shown = bucket_legend(self.diagnosis)
        looks = (LIGHT["k"], LIGHT["paper"])
        for name, fill, dashes in zip(self._series, looks, _MEDIAN_DASHES, strict=False):
            look: dict[str, Any] = {"marker": "o", "markerfacecolor": fill, "markeredgecolor": LIGHT["k"]}
            shown.append((name, Line2D([], [], color=LIGHT["soft"], linestyle=dashes, linewidth=1.6, **look)))
        return shown

    def _set_axes(self, y_label: str, ticks: ClassTicks | None) -> None:
        """`ticks`: of the classes by rank; None for an axis of counts."""
        axes = self.axes
        axes.set_ylabel(y_label)
        axes.grid(axis="x", visible=ticks is None)
        axes.spines["left"].set_visible(False)
        axes.yaxis.set_major_formatter(PLAIN)
        if ticks is None:
            kind = "instances" if self.diagnosis.classes[0].instances is not None else "images"
            axes.set_xlabel(f"training {kind} of the class")
            set_count_axis(axes, self.x)
        else:
            axes.set_xlim(0, len(self.x) + 1)
            ticks.draw(axes)

    def _set_log_axis(self) -> None:
        positive = [value for value in self._shown if value > 0]
        self.axes.set_yscale("log")
        if positive:
            set_log_ticks(self.axes.yaxis, min(positive) / 1.5, max(positive) * 1.5)


def point_size(diagnosis: Diagnosis) -> tuple[float, float]:
    """Area of a marker and width of its edge; smaller where there are many classes."""
    return (40, 0.6) if len(diagnosis.classes) <= _MANY else (10, 0.3)


def styles_of(diagnosis: Diagnosis) -> dict[str | None, Style]:
    """The style of each bucket, and under None that of classes without one."""
    styles: dict[str | None, Style] = {None: NO_BUCKET}
    styles.update(bucket_styles(diagnosis.buckets.names))
    return styles


def bucket_legend(diagnosis: Diagnosis) -> list[tuple[str, Artist]]:
    """The marker of each bucket that has a class."""
    buckets = {entry.bucket for entry in diagnosis.classes}
    return [
        (
            shorten(bucket or "no bucket"),
            Line2D([], [], linestyle="none", marker=style.marker, color=style.color, markeredgewidth=0),
        )
        for bucket, style in styles_of(diagnosis).items()
        if bucket in buckets
    ]


def set_count_axis(axes: Any, counts: Any) -> None:
    """A log axis of counts, of which 0.5 stands for 0."""
    low, high = float(np.min(counts)), float(np.max(counts))
    axes.set_xscale("log")
    axes.set_xlim(low / 1.3, max(high * 1.3, 2))
    powers = [float(10**power) for power in range(8) if low / 1.3 <= 10**power <= high * 1.3]
    axes.set_xticks(([0.5] if low == 0.5 else []) + powers)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: "0" if value == 0.5 else f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
