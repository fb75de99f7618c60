"""The little SVG that the charts need: scales, axes, marks, legends.

Colours are CSS variables of ``templates/chart.css``, so one drawing serves light, dark and print. A bucket is told by
its colour, and by its marker, its dash and its hatch.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files

# By the bucket's place from seldom to often; around a centre, about 10 units wide.
_MARKERS = (
    "M0-5.5 5 4H-5Z",
    "M-4-4H4V4H-4Z",
    "M0-4.5A4.5 4.5 0 1 1 0 4.5 4.5 4.5 0 1 1 0-4.5Z",
    "M0-5.5 5.5 0 0 5.5-5.5 0Z",
    "M0 5.5-5-4H5Z",
    "M-1.5-5H1.5V-1.5H5V1.5H1.5V5H-1.5V1.5H-5V-1.5H-1.5Z",
    "M-5-2.5H5V2.5H-5Z",
    "M-2.5-5H2.5V5H-2.5Z",
)
_DASHES = ("7 3", "2 3", "10 3 2 3", "4 2", "1 2", "12 4", "6 2 1 2 1 2", "3 6")
_HATCHES = (
    "M-1 1 1-1M0 6 6 0M5 7 7 5",
    "M1 3H4",
    "",
    "M-1 5 1 7M0 0 6 6M5-1 7 1",
    "M0 3H6",
    "M3 0V6",
    "M0 3H6M3 0V6",
    "M0 1H6",
)
_CHARACTER = 7.3  # width of a character of the charts' 12 unit text in a wide font
_LEGEND_ROW = 18


@dataclass(frozen=True)
class Key:
    """How one group of classes looks: a bucket by `bucket_places`, None for all classes or a class without bucket."""

    label: str
    index: int | None = None

    @property
    def colour(self) -> str:
        return "k" if self.index is None else f"c{self.index % len(_MARKERS)}"

    @property
    def marker(self) -> str:
        return _MARKERS[2] if self.index is None else _MARKERS[self.index % len(_MARKERS)]

    @property
    def dash(self) -> str:
        return "none" if self.index is None else _DASHES[self.index % len(_DASHES)]

    @property
    def hatch(self) -> str:
        return "" if self.index is None else _HATCHES[self.index % len(_HATCHES)]


@dataclass(frozen=True)
class Scale:
    """From values in `domain` to units in `span`; `log` for counts, which are then at least 0.5."""

    domain: tuple[float, float]
    span: tuple[float, float]
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high = map(self._place, self.domain)
        part = (self._place(value) - low) / (high - low)
        return round(self.span[0] + part * (self.span[1] - self.span[0]), 1)

    def _place(self, value: float) -> float:
        return math.log10(max(value, 0.5)) if self.log else value


def tag(name: str, content: str = "", **attributes: object) -> str:
    """An element; `content` is markup. An underscore in an attribute's name stands for a hyphen."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"' for key, value in attributes.items()
    )
    return f"<{name}{written}>{content}</{name}>" if content else f"<{name}{written}/>"


def text(x: float, y: float, words: str, **attributes: object) -> str:
    """Plain words, escaped."""
    return tag("text", escape(words), x=round(x, 1), y=round(y, 1), **attributes)


def text_width(words: str) -> float:
    """Units, estimated: there is no font to measure."""
    return len(words) * _CHARACTER


def shorten(words: str, limit: int = 24) -> str:
    return words if len(words) <= limit else words[: limit - 1] + "…"


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers within the interval, about `count` of them."""
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(k * step, 10) for k in range(first, last + 1)]


def frame(
    x: Scale,
    y: Scale,
    x_ticks: Sequence[float],
    y_ticks: Sequence[float],
    x_title: str,
    y_title: str,
    label: Callable[[float], str] = lambda value: f"{value:g}",
) -> str:
    """Grid, tick labels and titles of both axes. `y.span` runs from the bottom up."""
    (left, right), (bottom, top) = x.span, y.span
    parts = [tag("path", d=f"M{left} {y(tick)}H{right}", class_="grid") for tick in y_ticks]
    parts += [tag("path", d=f"M{x(tick)} {top}V{bottom}", class_="grid") for tick in x_ticks]
    parts += [text(left - 7, y(tick) + 4, label(tick), text_anchor="end", class_="soft") for tick in y_ticks]
    parts += [text(x(tick), bottom + 17, label(tick), text_anchor="middle", class_="soft") for tick in x_ticks]
    parts.append(tag("path", d=f"M{left} {bottom}H{right}", class_="axis"))
    parts.append(text((left + right) / 2, bottom + 36, x_title, text_anchor="middle"))
    middle = (top + bottom) / 2
    parts.append(text(0, 0, y_title, text_anchor="middle", transform=f"translate(13 {middle}) rotate(-90)"))
    return "".join(parts)


def marker(key: Key, x: float, y: float, hollow: bool = False) -> str:
    return tag("path", d=key.marker, transform=f"translate({x} {y})", class_=f"mark {key.colour}{' hollow' * hollow}")


def whisker(low: float, high: float, y: float) -> str:
    """An interval, with a halo that lifts it off a bar."""
    path = f"M{low} {y - 4}v8m0-4H{high}m0-4v8"
    return tag("path", d=path, class_="halo") + tag("path", d=path, class_="whisker")


def polyline(key: Key, points: Sequence[tuple[float, float]]) -> str:
    path = "M" + "L".join(f"{x} {y}" for x, y in points)
    return tag("path", d=path, class_=f"line {key.colour}", stroke_dasharray=key.dash)


def hatch_id(chart_id: str, key: Key) -> str:
    """Of a bar's pattern; in ``url(#...)``, where a set's name with a space or a bracket would end it."""
    safe = re.sub(r"[^\w-]", lambda found: f"_{ord(found[0]):x}_", chart_id, flags=re.ASCII)
    return f"{safe}-h-{key.colour}"


def hatches(chart_id: str, keys: Sequence[Key]) -> str:
    """The fills of bars."""
    patterns = (
        tag(
            "pattern",
            tag("path", d="M0 0H6V6H0Z", class_=f"solid {key.colour}")
            + (tag("path", d=key.hatch, class_="hatch") if key.hatch else ""),
            id=hatch_id(chart_id, key),
            width=6,
            height=6,
            patternUnits="userSpaceOnUse",
        )
        for key in keys
    )
    return tag("defs", "".join(patterns))


def legend(
    keys: Sequence[Key], left: float, right: float, swatch: Callable[[Key, float, float], str]
) -> tuple[str, float]:
    """Swatches and labels in rows that fit the width, above a chart.

    Args:
        swatch: draws a key's sample about a centre.

    Returns:
        Markup and its height.
    """
    x, y, parts = left, 12.0, []
    for key in keys:
        width = 34 + text_width(key.label) + 16
        if x > left and x + width > right:
            x, y = left, y + _LEGEND_ROW
        parts.append(swatch(key, x + 14, y - 4) + text(x + 34, y, key.label))
        x += width
    return "".join(parts), y + 10


def line_swatch(key: Key, x: float, y: float) -> str:
    return polyline(key, [(x - 14, y), (x + 14, y)])


def marker_line_swatch(key: Key, x: float, y: float) -> str:
    return line_swatch(key, x, y) + marker(key, x, y)


def svg(
    content: str,
    width: float,
    height: float,
    title: str,
    chart_id: str = "",
    class_: str = "chart",
    role: str = "img",
) -> str:
    """The whole picture, named for those who cannot see it; its role is "group" where its parts have names too."""
    name = {"id": chart_id} if chart_id else {}
    return tag(
        "svg",
        content,
        xmlns="http://www.w3.org/2000/svg",
        class_=class_,
        **name,
        viewBox=f"0 0 {width:g} {height:g}",
        width=f"{width:g}",
        height=f"{height:g}",
        role=role,
        aria_label=title,
    )


def standalone(drawing: str) -> str:
    """The same picture as a file for papers and slides: on white, with its colours written out.

    Not every program that reads SVG knows CSS variables, so they are replaced.
    """
    style = (files("lt_det.reporting") / "templates" / "chart.css").read_text(encoding="utf-8")
    light = dict(re.findall(r"--(\w+): (#\w+);", style.partition("@media")[0]))
    rules = style[style.index("svg.chart") :]
    rules = re.sub(r"var\(--(\w+)\)", lambda match: light[match.group(1)], rules)
    head, tail = drawing.split(">", 1)
    paper = tag("rect", width="100%", height="100%", fill=light["paper"])
    return f"{head}><style>{rules}</style>{paper}{tail}\n"
