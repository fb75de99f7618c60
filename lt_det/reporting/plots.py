"""Figures. Matplotlib's object interface, so that nothing depends on a display or on global state."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from lt_det.evaluation.protocols import Task
from lt_det.evaluation.schema import Evaluation
from lt_det.reporting.bucket_styles import bucket_places
from lt_det.statistics.buckets import FrequencyBuckets
from lt_det.statistics.class_stats import ClassStats

# Okabe and Ito's palette: told apart by colour-blind readers too. From seldom to often.
_COLOURS = ("#D55E00", "#E69F00", "#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#F0E442", "#000000")
_MARKERS = "^soDvP*X"  # and told apart without colours, in the order of the pages' marks
_CHARACTERS = "▲■●◆▼✚★✖"  # the same in text
NO_BUCKET = "#888888"
_PLAIN = FuncFormatter(lambda value, _: f"{value:g}")  # counts read better as 100 than as 10 to the power of 2


def bucket_colours(names: Sequence[str]) -> dict[str, str]:
    """A colour per bucket name."""
    places = bucket_places(names)
    return {name: _COLOURS[places[name]] for name in names}


def bucket_marks(names: Sequence[str]) -> dict[str, str]:
    """A character per bucket name, of the shape that the charts have."""
    places = bucket_places(names)
    return {name: _CHARACTERS[places[name]] for name in names}


def plot_class_counts(stats: ClassStats, buckets: FrequencyBuckets, file: str | os.PathLike[str], title: str) -> None:
    """Training count of every class from the most to the least frequent, buckets shaded; written to `file`."""
    counts = stats.counts(buckets.by)
    order = np.argsort(-counts, kind="stable")
    ranks = np.arange(1, len(order) + 1)
    figure, axes = _new_figure()
    colours = bucket_colours(buckets.names)
    for bucket, name in enumerate(buckets.names):
        inside = buckets.assignment[order] == bucket
        if inside.any():
            # One band per run of ranks: an explicit map need not be sorted by count.
            for start, stop in _runs(inside):
                axes.axvspan(start + 0.5, stop + 0.5, color=colours[name], alpha=0.18, linewidth=0)
            axes.plot([], [], color=colours[name], alpha=0.5, linewidth=8, label=f"{name}: {inside.sum()} classes")
    drawn = np.maximum(counts[order], 0.5)  # a class that never occurs still gets its place on a log axis
    axes.step(ranks, drawn, where="mid", color="#222222", linewidth=1.5)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(_PLAIN)
    axes.set_xlim(0.5, len(order) + 0.5)
    axes.set_xlabel("class, from the most to the least frequent")
    axes.set_ylabel(f"training {buckets.by}" + (" (0 drawn at 0.5)" if (counts == 0).any() else ""))
    axes.set_title(title)
    axes.legend(frameon=False)
    figure.savefig(file, dpi=150)


def plot_class_ap(evaluation: Evaluation, task: Task, file: str | os.PathLike[str]) -> None:
    """AP of every class against its training images, coloured by bucket, with each bucket's mean; to `file`.

    Args:
        evaluation: see `lt_det.evaluation.schema`.
        task: "bbox" or "segm".
    """
    result, classes = evaluation.tasks[task], evaluation.classes
    names = evaluation.buckets.names
    colours, places = bucket_colours(names), bucket_places(names)
    figure, axes = _new_figure()
    for name in [*names, None]:
        points = [
            (entry.images, ap)
            for entry, ap in zip(classes, result.class_ap, strict=True)
            if entry.bucket == name and ap is not None and entry.images is not None
        ]
        if not points:
            continue
        images, aps = np.asarray(points, dtype=float).T
        colour = NO_BUCKET if name is None else colours[name]
        mean = aps.mean()
        label = f"{name or 'no bucket'}: {len(points)} classes, mean {mean:.1f}"
        marker = "o" if name is None else _MARKERS[places[name]]
        drawn = np.maximum(images, 0.5)
        axes.scatter(drawn, aps, s=26, marker=marker, color=colour, alpha=0.75, linewidth=0, label=label)
        axes.hlines(mean, max(images.min(), 0.5), images.max(), color=colour, linewidth=2)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(_PLAIN)
    axes.set_ylim(-2, 102)
    axes.set_xlabel("training images of the class")
    axes.set_ylabel(f"{'box' if task == 'bbox' else 'mask'} AP")
    axes.set_title(f"{evaluation.dataset}: AP per class")
    axes.legend(frameon=False, loc="upper left")
    figure.savefig(file, dpi=150)


def _new_figure() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)
    return figure, axes


def _runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """Start and stop of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(int), [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
