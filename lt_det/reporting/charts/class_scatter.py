"""One point per class against its training images: the chart that `page.js` makes interactive."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter

from lt_det.evaluation.bakeoff_schema import Bakeoff
from lt_det.evaluation.protocols import Task
from lt_det.evaluation.result import percent
from lt_det.evaluation.schema import Evaluation
from lt_det.reporting.bucket_style import LIGHT, NO_BUCKET, Style, bucket_styles
from lt_det.reporting.charts.base import PLAIN, Chart, Panel, new_axes, shorten
from lt_det.reporting.charts.class_ticks import MOST_NAMED
from lt_det.reporting.charts.point_labels import label_points
from lt_det.terminal import count_of, signed

_WIDTH, _HEIGHT = 1000, 380
_RADIUS = 5  # of a point, in points
_MANY = 300  # classes, from which on each gets a smaller point


def class_ap_scatter(evaluation: Evaluation, task: Task) -> Chart | None:
    """None where no class has both an AP and a training count."""
    panel = class_scatter(evaluation, evaluation.tasks[task].class_ap, "AP")
    if panel is None:
        return None
    return Chart(
        "Classes by training images",
        (panel,),
        "Each point is a class. Hover over it for its name, or focus the chart and move with the arrow keys, Home and "
        "End.",
        layout="wide",
    )


def _top(most: float) -> float:
    return next(top for top in (10.0, 20.0, 50.0, 100.0) if most <= top or top == 100.0)


def class_scatter(
    evaluation: Evaluation | Bakeoff, values: Sequence[float | None], y_title: str, symmetric: bool = False
) -> Panel | None:
    """A value of each class against its training images (log axis), with the marker of its bucket.

    Args:
        evaluation: that has the classes and buckets.
        values: (K,) AP, or differences of AP; None: the class is left out.
        y_title: of the axis, and of the value in a label.
        symmetric: the axis is symmetric about 0. Otherwise it ends at 100, or at 10, 20 or 50 if these hold all values.

    Returns:
        None if no class has both a value and a training count.
    """
    known: dict[str | None, list[tuple[int, float, str]]] = {name: [] for name in [*evaluation.buckets.names, None]}
    for entry, value in zip(evaluation.classes, values, strict=True):
        if value is not None and entry.images is not None:
            known[entry.bucket].append((entry.images, value, entry.name))
    points = [point for members in known.values() for point in members]
    if not points:
        return None
    names = [name for name, members in known.items() if members]
    styles: dict[str | None, Style] = {None: NO_BUCKET}
    styles.update(bucket_styles(evaluation.buckets.names))
    legend = [
        (shorten(name or "no bucket"), Line2D([], [], linestyle="none", marker=style.marker, color=style.color))
        for name in names
        for style in [styles[name]]
    ]
    figure, axes = new_axes(_WIDTH, _HEIGHT, legend, left=56, right=12)
    labels: list[str] = []
    for name in names:
        members = sorted(known[name], key=lambda point: point[:2])
        collection = axes.scatter(
            [max(images, 0.5) for images, *_ in members],  # a class without images has its place on a log axis
            [value for _, value, _ in members],
            s=60 if len(points) <= _MANY else 26,
            marker=styles[name].marker,
            color=styles[name].color,
            edgecolor=LIGHT["paper"],
            linewidth=0.8,
            zorder=3,
        )
        collection.set_urls([f"point-{len(labels) + place}" for place in range(len(members))])
        for images, value, class_name in members:
            number = signed(value) if symmetric else percent(value)
            count = count_of(images, "training image")
            labels.append(f"{class_name}: {y_title} {number}, {count}, {name or 'no bucket'}")
    least, most = min(images for images, *_ in points), max(images for images, *_ in points)
    low = 0.4 if least == 0 else max(0.8, least / 4)
    _set_axes(axes, (low, max(10.0, most * (2 if len(points) <= MOST_NAMED else 1.25))), y_title)
    if symmetric:
        reach = max(5.0, max(abs(value) for _, value, _ in points) * 1.08)
        axes.set_ylim(-reach, reach)
        axes.axhline(0, color=LIGHT["soft"], linewidth=1)
    else:
        top = _top(max(value for _, value, _ in points))
        axes.set_ylim(-0.02 * top, 1.02 * top)
    _draw_edges(evaluation, axes)
    if len(points) <= MOST_NAMED:
        placed = [(max(images, 0.5), value, class_name) for images, value, class_name in points]
        label_points(axes, placed, [(x, y, _RADIUS) for x, y, _ in placed])
    return Panel("classes", f"{y_title} of each class against its training images", figure, tuple(labels), ".png")


def _set_axes(axes: Any, limits: tuple[float, float], y_title: str) -> None:
    axes.set_xscale("log")
    axes.set_xlim(*limits)
    digits = (1,) if limits[1] / limits[0] > 200 else (1, 2, 5)
    marks = [float(digit * 10**power) for power in range(8) for digit in digits]
    axes.set_xticks(([0.5] if limits[0] < 0.5 else []) + [mark for mark in marks if limits[0] <= mark <= limits[1]])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: "0" if value == 0.5 else f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(PLAIN)
    axes.spines["left"].set_visible(False)
    axes.set(xlabel="training images of the class", ylabel=y_title)


def _draw_edges(evaluation: Evaluation | Bakeoff, axes: Any) -> None:
    """Lines between the buckets, where images define them."""
    buckets = evaluation.buckets
    if buckets.by != "images" or not buckets.edges:
        return
    low, high = axes.get_xlim()
    for edge in buckets.edges:
        if edge and low < edge + 0.5 < high:
            axes.axvline(edge + 0.5, color=LIGHT["soft"], linestyle=(0, (3, 3)), linewidth=1)
