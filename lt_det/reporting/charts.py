"""The charts of an evaluation, as SVG: AP per bucket, precision-recall, errors, calibration.

Every function takes an `Evaluation`, a task of it, and an id that is unique on
the page; it returns None where the file lacks what it draws.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lt_det.evaluation.protocols import Task
from lt_det.evaluation.schema import ALL, Evaluation, group_metric
from lt_det.reporting.bucket_styles import bucket_places
from lt_det.reporting.differences import Difference
from lt_det.reporting.svg import (
    Key,
    Scale,
    frame,
    hatch_id,
    hatches,
    legend,
    line_swatch,
    marker,
    marker_line_swatch,
    polyline,
    shorten,
    svg,
    tag,
    text,
    text_width,
    ticks,
    whisker,
)
from lt_det.reporting.tables import signed

_WIDTH = 400.0
_PANEL = 340.0
_FEW = 20  # detections; below that a point of the calibration is drawn hollow


def groups(evaluation: Evaluation) -> list[tuple[str, Key]]:
    """All classes, then each bucket, with its looks."""
    names = evaluation.buckets.names
    places = bucket_places(names)
    return [(ALL, Key("all classes")), *((name, Key(shorten(name), places[name])) for name in names)]


def bucket_chart(evaluation: Evaluation, task: Task, chart_id: str) -> str:
    """AP of all classes and of each bucket as bars, with their intervals."""
    result = evaluation.tasks[task]
    intervals = result.intervals or {}
    shown = groups(evaluation)
    left, right, top, step = 96.0, _WIDTH - 20, 8.0, 46
    bottom = top + step * len(shown)
    ends = [result.metrics[group_metric(group)] or 0 for group, _ in shown]
    ends += [interval[1] for group, _ in shown if (interval := intervals.get(group_metric(group)))]
    highest = min(100.0, max(5.0, max(ends) * 1.05))
    x = Scale((0, highest), (left, right))
    parts = [hatches(chart_id, [key for _, key in shown])]
    parts += [tag("path", d=f"M{x(tick)} {top}V{bottom}", class_="grid") for tick in ticks(0, highest)]
    parts += [text(x(t), bottom + 17, f"{t:g}", text_anchor="middle", class_="soft") for t in ticks(0, highest)]
    for row, (group, key) in enumerate(shown):
        name, y = group_metric(group), top + step * row
        value, interval = result.metrics[name], intervals.get(name)
        size = sum(ap is not None for ap in result.class_ap) if group == ALL else result.bucket_sizes[group]
        parts.append(text(left - 8, y + 20, shorten(key.label, 13), text_anchor="end"))
        parts.append(text(left - 8, y + 35, f"{size} class{'es' * (size != 1)}", text_anchor="end", class_="soft"))
        if value is None:
            parts.append(text(left + 8, y + 28, "n/a", class_="soft"))
            continue
        fill = f"url(#{hatch_id(chart_id, key)})"
        parts.append(tag("rect", x=left, y=y + 15, width=round(x(value) - left, 1), height=20, fill=fill))
        words = f"{value:.1f}"
        if interval:
            low, high = x(interval[0]), x(interval[1])
            parts.append(whisker(low, high, y + 25))
            words += f"  [{interval[0]:.1f}, {interval[1]:.1f}]"
        parts.append(text(left + 3, y + 10, words))
    parts.append(tag("path", d=f"M{left} {top}V{bottom}", class_="axis"))
    parts.append(text((left + right) / 2, bottom + 36, "AP", text_anchor="middle"))
    return svg("".join(parts), _WIDTH, bottom + 44, "AP of each bucket", chart_id)


def precision_recall_charts(evaluation: Evaluation, task: Task, chart_id: str) -> list[str] | None:
    """Mean precision over classes against recall: at IoU 0.5, at 0.75, and the mean over the ten thresholds."""
    curves = evaluation.tasks[task].precision_recall
    if not curves:
        return None
    titles = {"iou_50": "IoU 0.5", "iou_75": "IoU 0.75", "mean": "mean over IoU 0.5 to 0.95"}
    shown = [(curve, key) for group, key in groups(evaluation) if (curve := curves[group])]
    charts = []
    for place, (threshold, title) in enumerate(titles.items()):
        head, top = legend([key for _, key in shown], 50, _PANEL, line_swatch)
        top += 20
        x, y = Scale((0, 1), (50, _PANEL - 10)), Scale((0, 1), (top + 230, top))
        tenths = [0, 0.2, 0.4, 0.6, 0.8, 1]
        parts = [head, frame(x, y, tenths, tenths, "recall", "precision")]
        parts.append(text(50, top - 9, title, class_="title"))
        for curve, key in reversed(shown):
            precision = getattr(curve, threshold)
            points = [(x(index / 100), y(value)) for index, value in enumerate(precision) if value is not None]
            if points:
                parts.append(polyline(key, points))
        label = f"Precision against recall, {title}"
        charts.append(svg("".join(parts), _PANEL, top + 272, label, f"{chart_id}-{place}"))
    return charts


def error_chart(evaluation: Evaluation, task: Task, chart_id: str) -> str | None:
    """AP50 points lost to each kind of error, in each bucket."""
    errors = evaluation.tasks[task].errors
    if not errors:
        return None
    shown = [(loss, key) for group, key in groups(evaluation) if (loss := errors.loss[group])]
    return grouped_bars(
        errors.types,
        {kind: [loss[kind] for loss, _ in shown] for kind in errors.types},
        [key for _, key in shown],
        "AP50 points lost",
        "AP50 points lost to each kind of error",
        chart_id,
    )


def grouped_bars(
    rows: Sequence[str],
    values: Mapping[str, Sequence[float | None]],
    keys: Sequence[Key],
    axis_title: str,
    title: str,
    chart_id: str,
) -> str:
    """One group of horizontal bars per row, one bar per key."""
    left, right, bar = 96.0, _WIDTH - 46, 13
    known = [value for row in rows for value in values[row] if value is not None]
    low, high = min([0.0, *known]), max([1.0, *known])
    x = Scale((low, high), (left, right))
    head, top = legend(keys, 8, _WIDTH, lambda key, a, b: _bar_swatch(chart_id, key, a, b))
    step = bar * len(keys) + 12
    bottom = top + step * len(rows)
    parts = [hatches(chart_id, keys), head]
    for tick in ticks(low, high):
        parts.append(tag("path", d=f"M{x(tick)} {top}V{bottom}", class_="grid"))
        parts.append(text(x(tick), bottom + 17, f"{tick:g}", text_anchor="middle", class_="soft"))
    for row, name in enumerate(rows):
        y = top + step * row + 6
        parts.append(text(left - 8, y + (step - 12) / 2 + 4, shorten(name, 14), text_anchor="end"))
        for place, (value, key) in enumerate(zip(values[name], keys, strict=True)):
            middle = y + bar * place
            if value is None:
                parts.append(text(x(0) + 4, middle + 10, "n/a", class_="soft small"))
                continue
            start, stop = sorted((x(0), x(value)))
            fill = f"url(#{hatch_id(chart_id, key)})"
            parts.append(tag("rect", x=start, y=middle, width=round(stop - start, 1), height=bar - 2, fill=fill))
            parts.append(text(stop + 4, middle + 10, f"{value:.1f}", class_="small"))
    parts.append(tag("path", d=f"M{x(0)} {top}V{bottom}", class_="axis"))
    parts.append(text((left + right) / 2, bottom + 36, axis_title, text_anchor="middle"))
    return svg("".join(parts), _WIDTH, bottom + 44, title, chart_id)


def calibration_chart(evaluation: Evaluation, task: Task, chart_id: str) -> str | None:
    """Precision of the detections in each interval of scores against their mean score, with the ECE."""
    calibration = evaluation.tasks[task].calibration
    if not calibration:
        return None
    shown = [
        (entry, key)
        for group, key in groups(evaluation)
        if (entry := calibration.groups[group]) and entry.ece is not None
    ]
    keys = [Key(f"{key.label}: ECE {entry.ece:.3f}", key.index) for entry, key in shown]
    head, top = legend(keys, 50, _WIDTH, marker_line_swatch)
    top += 6
    x, y = Scale((0, 1), (50, _WIDTH - 20)), Scale((0, 1), (top + 290, top))
    fifths = [0, 0.2, 0.4, 0.6, 0.8, 1]
    parts = [head, frame(x, y, fifths, fifths, "mean score", "precision")]
    parts.append(tag("path", d=f"M{x(0)} {y(0)}L{x(1)} {y(1)}", class_="guide"))
    for entry, key in reversed(shown):
        columns = zip(entry.score, entry.precision, entry.count, strict=True)
        bins = [(x(a), y(b), count) for a, b, count in columns if a is not None and b is not None]
        if bins:
            parts.append(polyline(key, [(a, b) for a, b, _ in bins]))
            parts += [marker(key, a, b, hollow=count < _FEW) for a, b, count in bins]
    return svg("".join(parts), _WIDTH, top + 332, "Precision against score", chart_id)


def difference_chart(differences: Sequence[Difference], chart_id: str) -> str:
    """Differences of metrics with their paired intervals, about a line at 0."""
    rows = [(found.metric, found.value, found.interval) for found in differences]
    ends = [0.0]
    for _, value, interval in rows:
        ends += [end for end in (value, *(interval or ())) if end is not None]
    low, high = min(ends), max(ends)
    margin = max(0.5, (high - low) * 0.08)
    longest = max(text_width(shorten(name, 16)) for name, *_ in rows)
    left, right, top, step = 12 + longest, _WIDTH - 142, 8.0, 30
    x = Scale((low - margin, high + margin), (left, right))
    bottom = top + step * len(rows)
    parts = []
    for tick in ticks(*x.domain):
        parts.append(tag("path", d=f"M{x(tick)} {top}V{bottom}", class_="grid"))
        parts.append(text(x(tick), bottom + 17, f"{tick:+g}" if tick else "0", text_anchor="middle", class_="soft"))
    parts.append(tag("path", d=f"M{x(0)} {top}V{bottom}", class_="axis"))
    for row, (name, value, interval) in enumerate(rows):
        y = top + step * row + step / 2
        parts.append(text(left - 8, y + 4, shorten(name, 16), text_anchor="end"))
        words = signed(value)
        if value is not None and interval:
            a, b = x(interval[0]), x(interval[1])
            parts.append(whisker(a, b, y))
            words += f"  [{signed(interval[0])}, {signed(interval[1])}]"
        if value is not None:
            unsure = interval is not None and interval[0] <= 0 <= interval[1]
            parts.append(marker(Key(""), x(value), y, hollow=unsure))
        parts.append(text(right + 8, y + 4, words))
    parts.append(text((left + right) / 2, bottom + 36, "difference in points", text_anchor="middle"))
    return svg("".join(parts), _WIDTH, bottom + 44, "Differences with intervals", chart_id)


def _bar_swatch(chart_id: str, key: Key, x: float, y: float) -> str:
    fill = f"url(#{hatch_id(chart_id, key)})"
    return tag("rect", x=x - 12, y=y - 6, width=24, height=12, fill=fill)
