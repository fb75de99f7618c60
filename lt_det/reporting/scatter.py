"""One mark per class, against its training images: the chart that `page.js` lets hand and keyboard walk through."""

from __future__ import annotations

from collections.abc import Sequence

from lt_det.evaluation.schema import Evaluation
from lt_det.reporting.bucket_styles import bucket_places
from lt_det.reporting.svg import Key, Scale, frame, legend, marker, shorten, svg, tag, ticks
from lt_det.reporting.tables import percent, signed

_WIDTH, _HEIGHT = 1000.0, 380.0
_MANY = 300  # classes, of which each gets a smaller mark


def class_scatter(
    evaluation: Evaluation, values: Sequence[float | None], y_title: str, chart_id: str, about_zero: bool = False
) -> str | None:
    """A value of each class against its training images (log axis), with a marker for its bucket.

    Args:
        evaluation: see `lt_det.evaluation.schema`.
        values: (K,) AP, or differences of AP; None: the class is not drawn.
        y_title: of the axis, and of the value in the label.
        chart_id: unique on the page.
        about_zero: draw about 0 instead of from 0 to 100.

    Returns:
        Markup, or None if no class has both a value and a count.
    """
    known = [
        (entry.images, value, entry)
        for entry, value in zip(evaluation.classes, values, strict=True)
        if value is not None and entry.images is not None
    ]
    if not known:
        return None
    names = evaluation.buckets.names
    places = bucket_places(names)
    keys = [Key(shorten(name), places[name]) for name in names]
    keys += [Key("no bucket")] * any(entry.bucket is None for *_, entry in known)
    head, top = legend(keys, 56, _WIDTH, marker)
    top += 6
    most = max(images for images, *_ in known)
    lowest = 0.4 if min(images for images, *_ in known) == 0 else 0.8
    x = Scale((lowest, max(10.0, most * 1.25)), (56, _WIDTH - 12), log=True)
    if about_zero:
        reach = max(5.0, max(abs(value) for _, value, _ in known) * 1.08)
        y = Scale((-reach, reach), (top + _HEIGHT, top))
    else:
        y = Scale((-2, 102), (top + _HEIGHT, top))
    powers = [float(10**power) for power in range(7) if 10**power <= x.domain[1]]
    x_ticks = ([0.0] if lowest < 0.5 else []) + powers
    y_ticks = ticks(*y.domain, count=8) if about_zero else [0, 20, 40, 60, 80, 100]
    parts = [head, frame(x, y, x_ticks, y_ticks, "training images of the class", y_title)]
    if about_zero:
        parts.append(tag("path", d=f"M{x.span[0]} {y(0)}H{x.span[1]}", class_="axis"))
    parts += _edges(evaluation, x, y)
    small = " scale(.7)" if len(known) > _MANY else ""
    for images, value, entry in sorted(known, key=lambda point: (point[0], point[1])):
        number = signed(value) if about_zero else percent(value)
        label = f"{entry.name}: {y_title} {number}, {images} training images, {entry.bucket or 'no bucket'}"
        key = Key("", places.get(entry.bucket or ""))
        parts.append(
            tag(
                "path",
                d=key.marker,
                transform=f"translate({x(images)} {y(value)}){small}",
                class_=f"mark {key.colour} point",
                role="img",
                aria_label=label,
            )
        )
    title = f"{y_title} of each class"
    return svg("".join(parts), _WIDTH, top + _HEIGHT + 44, title, chart_id, "chart scatter", role="group")


def _edges(evaluation: Evaluation, x: Scale, y: Scale) -> list[str]:
    """Lines between the buckets, where they go by images."""
    buckets = evaluation.buckets
    if buckets.by != "images" or not buckets.edges:
        return []
    inside = [edge + 0.5 for edge in buckets.edges if edge and x.domain[0] < edge + 0.5 < x.domain[1]]
    return [tag("path", d=f"M{x(edge)} {y.span[0]}V{y.span[1]}", class_="guide") for edge in inside]
