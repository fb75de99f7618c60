"""What every chart is made of: axes in the style of the reports, a legend, and the words beside it."""

from __future__ import annotations

import io
import logging
import math
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import matplotlib
from cycler import cycler
from matplotlib import font_manager
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.text import Text
from matplotlib.textpath import text_to_path
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from lt_det.evaluation.schema import ALL, Evaluation
from lt_det.reporting.bucket_style import LIGHT, NO_BUCKET, Style, bucket_styles
from lt_det.reporting.fonts import fallback_fonts, report_missing_letters
from lt_det.terminal import printable

COLUMN = 400  # width of a chart that stands beside its caption, in points
SMALL_TEXT, TEXT = 10.5, 12
PLAIN = FuncFormatter(lambda value, _: f"{value:g}")  # counts read better as 100 than as 10 to the power of 2

_NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}
_LEGEND_ROW, _LEGEND_HANDLE, _LEGEND_LEFT, _LEGEND_TOP = 18, 46, 8, 6
_RC: dict[str, Any] = {
    "text.parse_math": False,  # a class name may hold a dollar
    "svg.fonttype": "none",  # text stays text: any script, searchable, in the font of the page
    "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans"],  # matplotlib brings it; it is wide, so other fonts fit where it fits
    "font.size": TEXT,
    "axes.prop_cycle": cycler(color=[LIGHT["k"]]),
    "svg.hashsalt": "lt_det",  # ids inside an SVG are the same every time
    "text.color": LIGHT["ink"],
    "axes.labelcolor": LIGHT["ink"],
    "axes.labelsize": TEXT,
    "axes.titlesize": TEXT,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": LIGHT["soft"],
    "axes.facecolor": LIGHT["paper"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": LIGHT["grid"],
    "grid.linewidth": 1.0,
    "figure.facecolor": LIGHT["paper"],
    "savefig.facecolor": LIGHT["paper"],
    "xtick.color": LIGHT["soft"],
    "ytick.color": LIGHT["soft"],
    "xtick.labelcolor": LIGHT["soft"],
    "ytick.labelcolor": LIGHT["soft"],
    "xtick.labelsize": TEXT,
    "ytick.labelsize": TEXT,
    "xtick.major.size": 0.0,
    "ytick.major.size": 0.0,
    "xtick.minor.size": 0.0,
    "ytick.minor.size": 0.0,
    "lines.linewidth": 2.0,
    "lines.solid_capstyle": "butt",
    "hatch.linewidth": 1.2,
    "hatch.color": LIGHT["paper"],
    "legend.frameon": False,
    "legend.fontsize": TEXT,
}
# What a style may not set: matplotlib's back end and the user's session.
_SESSION = ("backend", "interactive", "toolbar", "timezone", "webagg", "tk.", "date.", "docstring", "figure.max_open")
_DEFAULTS = {key: value for key, value in matplotlib.rcParamsDefault.items() if not key.startswith(_SESSION)}


@dataclass(eq=False)
class Panel:
    """One figure of a chart.

    Attributes:
        name: unique within a report section; the file is called ``<set>_<task>_<name>.svg``.
        alt: what it shows, for readers who cannot see it.
        figure: matplotlib's, made within `chart_style`.
        point_labels: of an interactive chart: ``point_labels[k]`` describes the point whose URL is ``point-k``.
        file_end: another end of the file's name.
    """

    name: str
    alt: str
    figure: Figure
    point_labels: tuple[str, ...] = ()
    file_end: str = ""

    @cached_property
    def svg(self) -> str:
        """The figure as an SVG file: in the light colors, and the same every time."""
        stream = io.StringIO()
        with chart_style():
            _escape_texts(self.figure)
            self.figure.savefig(stream, format="svg", metadata=_NO_METADATA)
        return stream.getvalue()


@dataclass(frozen=True)
class Chart:
    """A part of the report: heading, figures, and the words that explain them.

    Attributes:
        terms: a definition list below the caption.
        layout: caption beside the figure, or below a wide one, or below several in a grid.
    """

    title: str
    panels: tuple[Panel, ...]
    caption: str
    terms: tuple[tuple[str, str], ...] = ()
    layout: Literal["beside", "wide", "grid"] = "beside"


@contextmanager
def chart_style() -> Iterator[None]:
    """The reports' style, whatever the user's matplotlibrc says. Figures are made and saved within it."""
    with matplotlib.rc_context({**_DEFAULTS, **_RC}), warnings.catch_warnings():
        # Browsers find a font for every script; matplotlib, which only measures the text, may not have one.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
        yield


def save_bitmap(figure: Figure, file: str | os.PathLike[str], dpi: float) -> None:
    """Write a figure, as a bitmap or whatever the suffix says, with fonts of this machine for letters of any script.

    Raises:
        ValueError: matplotlib does not know the format.
        OSError: the file cannot be written.
    """
    with chart_style():
        _escape_texts(figure)
        texts = [(text, text.get_fontfamily()) for text in figure.findobj(Text)]
        report_missing_letters(text.get_text() for text, _ in texts)
        for text, family in texts:
            text.set_fontfamily([*family, *fallback_fonts()])
        font_log = logging.getLogger(font_manager.__name__)
        level = font_log.level
        font_log.setLevel(logging.ERROR)  # it warns of each fallback font without a bold face
        try:
            figure.savefig(file, dpi=dpi)
        finally:
            font_log.setLevel(level)
            for text, family in texts:  # an SVG names the fonts, and is the same on every machine
                text.set_fontfamily(family)


def new_axes(
    width: float,
    height: float,
    legend: Sequence[tuple[str, Artist]] = (),
    *,
    left: float = 50,
    right: float = 16,
    top: float = 10,
    bottom: float = 44,
) -> tuple[Figure, Axes]:
    """A figure with one pair of axes and a legend above them.

    All sizes are in points, which are also the units of the SVG.

    Args:
        width: of the figure.
        height: of the axes; margins and legend are added.
        legend: labels and what to show beside them.
        left, right, top, bottom: margins.
    """
    columns = _legend_columns([label for label, _ in legend], width - _LEGEND_LEFT)
    rows = math.ceil(len(legend) / columns)
    columns = math.ceil(len(legend) / max(rows, 1)) or 1  # as many in each row
    top += _LEGEND_TOP if legend else 0
    total = top + _LEGEND_ROW * rows + height + bottom
    figure = Figure(figsize=(width / 72, total / 72), dpi=72)
    axes = figure.add_axes((left / width, bottom / total, (width - left - right) / width, height / total))
    if legend:
        figure.legend(
            [handle for _, handle in legend],
            # matplotlib leaves out a label that begins with an underscore.
            ["\u200b" * label.startswith("_") + label for label, _ in legend],
            loc="upper left",
            bbox_to_anchor=(_LEGEND_LEFT / width, 1 - _LEGEND_TOP / total),
            ncols=columns,
            borderpad=0.1,
            borderaxespad=0,
            labelspacing=0.35,
            columnspacing=1.2,
            handlelength=2.2,
            handletextpad=0.6,
        )
    return figure, axes


def set_log_ticks(axis: Any, low: float, high: float) -> None:
    """Limits of a log axis, and ticks at powers of 10, in a short range also at 2 and 5 times these."""
    decades = math.log10(high / low)
    axis.axes.set(**{f"{axis.axis_name}lim": (low, high)})
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 2 else (1,), numticks=8))
    axis.set_major_formatter(PLAIN)
    axis.set_minor_locator(NullLocator())


def groups(evaluation: Evaluation) -> list[tuple[str, str, Style]]:
    """All classes, then each shown bucket: key in the evaluation, label and style."""
    styles = bucket_styles(evaluation.buckets.names)
    shown = evaluation.shown_buckets
    return [(ALL, "all classes", NO_BUCKET), *((name, shorten(name), styles[name]) for name in shown)]


def shorten(words: str, limit: int = 24) -> str:
    """At most `limit` characters, in one line."""
    words = printable(words)
    return words if len(words) <= limit else words[: limit - 1] + "…"


def text_width(words: str, size: float = TEXT) -> float:
    """Points."""
    font = FontProperties(size=size)
    return float(text_to_path.get_text_width_height_descent(printable(words), font, ismath=False)[0])


def _escape_texts(figure: Figure) -> None:
    """Control characters are no part of an SVG, and the fonts cannot measure lone surrogates."""
    for text in figure.findobj(Text):
        text.set_text(printable(text.get_text(), keep="\n"))


def _legend_columns(labels: Sequence[str], width: float) -> int:
    if not labels:
        return 1
    cell = _LEGEND_HANDLE + max(map(text_width, labels))
    return max(1, min(len(labels), int(width // cell)))
