"""Bars of the candidates: AP of each bucket, and the time of a training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes

from lt_det.evaluation.bakeoff_schema import Bakeoff, Entry
from lt_det.evaluation.schema import group_metric
from lt_det.reporting.bakeoff.selection import MAX_SHOWN, ordered, shown
from lt_det.reporting.bucket_style import LIGHT, NO_BUCKET, Style, bucket_styles
from lt_det.reporting.charts.base import COLUMN, PLAIN, SMALL_TEXT, Chart, Panel, new_axes, shorten
from lt_det.terminal import count_of

_PANEL_WIDTH, _ROW = 340, 34


def bucket_bars(bakeoff: Bakeoff) -> Chart | None:
    """One panel for each shown bucket that has an AP; None if no bucket has one."""
    entries = shown(bakeoff, MAX_SHOWN)
    styles = bucket_styles(bakeoff.buckets.names)
    panels = []
    for index, bucket in enumerate(bakeoff.buckets.names):
        metric = group_metric(bucket)
        if bucket in bakeoff.shown_buckets and any(entry.mean(metric) is not None for entry in entries):
            panels.append(_bucket_panel(bakeoff, entries, metric, bucket, styles[bucket], index))
    if not panels:
        return None
    left_out = len(ordered(bakeoff.candidates)) - len(entries)
    return Chart(
        "Buckets",
        tuple(panels),
        f"AP on the evaluation set{', with 95 % intervals' if bakeoff.has_intervals else ''}. The vertical line is the "
        "retrained baseline. The order is that of the mean over the buckets; the recommended candidate is bold."
        + (f" The table has {count_of(left_out, 'more candidate')}." if left_out else ""),
        layout="grid",
    )


def cost_bars(bakeoff: Bakeoff) -> Chart | None:
    """Seconds of one training of each candidate; None if nothing was trained."""
    entries = [entry for entry in shown(bakeoff, MAX_SHOWN) if entry.seconds]
    if not entries:
        return None
    figure, axes = new_axes(COLUMN, _ROW * len(entries), left=14, right=20)
    longest = max(entry.seconds or 0.0 for entry in entries)
    for row, entry in enumerate(entries):
        seconds = entry.seconds or 0.0
        axes.barh(row + 0.2, seconds, 0.34, color=NO_BUCKET.color, linewidth=0)
        _write(axes, row, entry, duration(seconds), _is_recommended(bakeoff, entry), _ratio(seconds, bakeoff))
    _finish(axes, len(entries), longest * 1.05, "seconds of one training")
    parts = ", ".join(f"{name} {duration(seconds)}" for name, seconds in bakeoff.seconds.items())
    caption = "Wall time of one training of the classifier, as the mean over the seeds."
    if parts:
        device = f" on {bakeoff.device}" if bakeoff.device else ""
        caption += f" The parts of the bake-off took{device}, in the last call: {parts}."
    return Chart("Cost", (Panel("cost", "Seconds of one training", figure),), caption)


def duration(seconds: float) -> str:
    """``0.3 s``, ``19 s``, ``4 min 10 s``, ``2 h 05 min``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if round(seconds) < 120:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _bucket_panel(
    bakeoff: Bakeoff, entries: Sequence[Entry], metric: str, bucket: str, style: Style, index: int
) -> Panel:
    figure, axes = new_axes(_PANEL_WIDTH, _ROW * len(entries), left=14, right=20, top=27)
    highest = 5.0
    for row, entry in enumerate(entries):
        value, interval = entry.mean(metric), entry.intervals.get(metric)
        bold = _is_recommended(bakeoff, entry)
        if value is None:
            _write(axes, row, entry, "n/a", bold)
            continue
        axes.barh(row + 0.2, value, 0.34, color=style.color, hatch=style.hatch, edgecolor=LIGHT["paper"], linewidth=0)
        highest = max(highest, value, interval[1] if interval else 0.0)
        if interval:
            for color, width in ((LIGHT["paper"], 4.5), (LIGHT["ink"], 1.5)):  # a halo lifts it off the bar
                axes.errorbar(
                    value, row + 0.2, xerr=[[value - interval[0]], [interval[1] - value]],
                    fmt="none", ecolor=color, elinewidth=width, capsize=3, capthick=width,
                )  # fmt: skip
        _write(axes, row, entry, f"{value:.1f}", bold)
    baseline = bakeoff.baseline.mean(metric) if bakeoff.baseline else None
    if baseline is not None:
        for row in range(len(entries)):
            axes.plot([baseline] * 2, [row + 0.01, row + 0.39], color=LIGHT["ink"], linewidth=1.4, zorder=4)
    _finish(axes, len(entries), min(100.0, highest * 1.05), metric)
    axes.set_title(shorten(bucket))
    return Panel(f"bucket_{index}", f"{metric} of the candidates", figure)


def _is_recommended(bakeoff: Bakeoff, entry: Entry) -> bool:
    return entry.name == bakeoff.recommendation.name


def _ratio(seconds: float, bakeoff: Bakeoff) -> str:
    baseline = bakeoff.baseline.seconds if bakeoff.baseline else None
    return f"{seconds / baseline:.2g} x the baseline" if baseline else ""


def _write(axes: Axes, row: int, entry: Entry, number: str, bold: bool, after: str = "") -> None:
    """The candidate's name above the left end of its bar, its number above the right end of the axes."""
    place: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
    weight = "bold" if bold else "normal"
    axes.annotate(shorten(entry.name, 28), (0, row), (1, 0), va="bottom", fontsize=SMALL_TEXT, weight=weight, **place)
    words = f"{number}  ({after})" if after else number
    axes.annotate(words, (1, row), (0, 0), ha="right", va="bottom", fontsize=SMALL_TEXT, weight=weight, **place)


def _finish(axes: Axes, rows: int, highest: float, title: str) -> None:
    axes.set_xlim(0, highest)
    axes.set_ylim(rows - 0.45, -0.55)
    axes.set_yticks([])
    axes.xaxis.set_major_formatter(PLAIN)
    axes.set_xlabel(title)
    axes.spines["bottom"].set_visible(False)
