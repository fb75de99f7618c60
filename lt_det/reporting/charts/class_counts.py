"""The training count of every class: the chart of ``lt-det stats --plot``."""

from __future__ import annotations

import os

import numpy as np
from matplotlib.patches import Patch

from lt_det.reporting.bucket_style import LIGHT, bucket_styles
from lt_det.reporting.charts.base import chart_style, new_axes, save_bitmap, set_log_ticks, shorten
from lt_det.reporting.charts.class_ticks import ClassTicks
from lt_det.statistics.buckets import FrequencyBuckets
from lt_det.statistics.class_stats import ClassStats
from lt_det.terminal import count_of

_WIDTH, _HEIGHT, _DPI = 640, 260, 150
_LEFT, _RIGHT = 64, 16  # margins


def plot_class_counts(stats: ClassStats, buckets: FrequencyBuckets, file: str | os.PathLike[str], title: str) -> None:
    """Draw the counts from the most to the least frequent class, with the buckets shaded.

    Args:
        file: the suffix chooses the format.

    Raises:
        ValueError: matplotlib does not know the format.
        OSError: the file cannot be written.
    """
    counts = stats.counts(buckets.by)
    order = np.argsort(-counts, kind="stable")
    styles = bucket_styles(buckets.names)
    sizes = [int((buckets.assignment == bucket).sum()) for bucket in range(len(buckets.names))]
    with chart_style():
        legend = [
            (
                f"{shorten(name)}: {count_of(size, 'class')}",
                Patch(facecolor=styles[name].color, alpha=0.35, linewidth=0),
            )
            for name, size in zip(buckets.names, sizes, strict=True)
            if size
        ]
        ticks = ClassTicks([stats.names[k] for k in order], _WIDTH - _LEFT - _RIGHT)
        figure, axes = new_axes(_WIDTH, _HEIGHT, legend, left=_LEFT, right=_RIGHT, top=30, bottom=ticks.bottom)
        for bucket, name in enumerate(buckets.names):
            # A bucket may be in several bands: an explicit map need not follow the counts.
            for start, stop in _bands(buckets.assignment[order] == bucket):
                axes.axvspan(start + 0.5, stop + 0.5, color=styles[name].color, alpha=0.18, linewidth=0)
        shown = np.maximum(counts[order], 0.5)  # a class that never occurs has its place on a log axis
        axes.stairs(shown, np.arange(len(order) + 1) + 0.5, baseline=None, color=LIGHT["ink"], linewidth=1.5)
        axes.set_yscale("log")
        set_log_ticks(axes.yaxis, float(shown.min()) / 1.3, float(shown.max()) * 1.3)
        axes.set_xlim(0.5, len(order) + 0.5)
        ticks.draw(axes)
        axes.grid(axis="x", visible=False)
        axes.set_ylabel(f"training {buckets.by}" + (" (0 is shown as 0.5)" if (counts == 0).any() else ""))
        axes.set_title(title)
    save_bitmap(figure, file, _DPI)


def _bands(mask: np.ndarray) -> list[tuple[int, int]]:
    """Start and stop of each stretch of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(int), [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
