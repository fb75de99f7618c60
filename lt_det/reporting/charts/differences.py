"""Differences of metrics between two runs with their paired intervals."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.ticker import FuncFormatter

from lt_det.reporting.bucket_style import LIGHT, NO_BUCKET
from lt_det.reporting.charts.base import COLUMN, Panel, new_axes, shorten, text_width
from lt_det.reporting.comparison.differences import Difference
from lt_det.terminal import signed, signed_interval

_ROW = 30


def difference_chart(differences: Sequence[Difference]) -> Panel:
    """About a line at 0; a difference whose interval includes 0 is hollow."""
    ends = [0.0]
    for found in differences:
        ends += [end for end in (found.value, *(found.interval or ())) if end is not None]
    margin = max(0.5, (max(ends) - min(ends)) * 0.08)
    names = [shorten(found.metric, 16) for found in differences]
    longest = max(map(text_width, names))
    figure, axes = new_axes(COLUMN, _ROW * len(differences), left=12 + longest, right=142)
    for row, found in enumerate(differences):
        words = signed(found.value)
        if found.value is not None and found.interval:
            axes.errorbar(
                found.value, row,
                xerr=[[found.value - found.interval[0]], [found.interval[1] - found.value]],
                fmt="none", ecolor=LIGHT["ink"], elinewidth=1.5, capsize=4, capthick=1.5,
            )  # fmt: skip
            words += f"  {signed_interval(found.interval)}"
        if found.value is not None:
            unsure = found.interval is not None and found.interval[0] <= 0 <= found.interval[1]
            axes.plot(
                found.value, row, "o", markersize=8,
                markerfacecolor=LIGHT["paper"] if unsure else NO_BUCKET.color,
                markeredgecolor=NO_BUCKET.color if unsure else LIGHT["paper"],
                markeredgewidth=1.6 if unsure else 0.8,
            )  # fmt: skip
        axes.annotate(
            words, (1, row), (8, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
            va="center_baseline", annotation_clip=False,
        )  # fmt: skip
    axes.set_xlim(min(ends) - margin, max(ends) + margin)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_yticks(range(len(names)), names, color=LIGHT["ink"])
    axes.grid(axis="y", visible=False)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:+g}" if value else "0"))
    axes.set_xlabel("difference in points")
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.axvline(0, color=LIGHT["soft"], linewidth=1, zorder=1)
    return Panel("differences", "Differences of the metrics", figure)
