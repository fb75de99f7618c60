"""How the reports show a frequency bucket: its color, marker, line style and hatch, in light and dark.

Without a plotting library, so that charts, pages and images drawn with Pillow share it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lt_det.statistics.buckets import UNSEEN

# Okabe and Ito's palette, which color-blind readers can distinguish. On white, orange and yellow are darkened, and on
# black, blue is lightened, to a contrast of 3. The pages have a CSS variable for each name.
LIGHT = {
    "paper": "#ffffff", "ink": "#1c1e21", "soft": "#5b6168", "rule": "#d9dce0", "grid": "#e6e8eb", "k": "#4a4f55",
    "c0": "#d55e00", "c1": "#c48400", "c2": "#0072b2", "c3": "#00875f",
    "c4": "#b8578f", "c5": "#2f8fc7", "c6": "#8f8600", "c7": "#000000",
}  # fmt: skip
DARK = {
    "paper": "#15171a", "ink": "#e4e6e9", "soft": "#a2a9b1", "rule": "#363b41", "grid": "#282c31", "k": "#b4bac1",
    "c0": "#f0782a", "c1": "#e69f00", "c2": "#4aa3df", "c3": "#1fb58a",
    "c4": "#cc79a7", "c5": "#56b4e9", "c6": "#f0e442", "c7": "#ffffff",
}  # fmt: skip


@dataclass(frozen=True)
class Style:
    """How one group of classes looks, with and without color.

    Attributes:
        color: its light color; `DARK` has the dark one under the same name.
        marker: matplotlib's.
        symbol: the same shape as a character.
        dashes: matplotlib's line style.
        hatch: matplotlib's.
    """

    color: str
    marker: str
    symbol: str
    dashes: str | tuple[float, tuple[float, ...]] = "-"
    hatch: str = ""


NO_BUCKET = Style(LIGHT["k"], "o", "•")  # all classes together, or classes without a bucket
_UNSEEN_STYLE = Style(LIGHT["c4"], "v", "▼", (0, (0.5, 1)), "||||")
_SEEN_STYLES = (
    Style(LIGHT["c0"], "^", "▲", (0, (3.5, 1.5)), "////"),
    Style(LIGHT["c1"], "s", "■", (0, (1, 1.5)), "----"),
    Style(LIGHT["c2"], "o", "●", (0, (5, 1.5, 1, 1.5)), ""),
    Style(LIGHT["c3"], "D", "◆", (0, (2, 1)), "\\\\\\\\"),
    Style(LIGHT["c5"], "P", "✚", (0, (6, 2)), "xxx"),
    Style(LIGHT["c6"], "*", "★", (0, (3, 1, 0.5, 1, 0.5, 1)), "+++"),
    Style(LIGHT["c7"], "X", "✖", (0, (1.5, 3)), "--"),
)


def bucket_styles(names: Sequence[str]) -> dict[str, Style]:
    """The style of each bucket; it is the same whether or not there is a bucket of unseen classes."""
    seen = [name for name in names if name != UNSEEN]
    styles = {name: _SEEN_STYLES[index % len(_SEEN_STYLES)] for index, name in enumerate(seen)}
    return {name: styles.get(name, _UNSEEN_STYLE) for name in names}


def class_styles(number: int) -> list[Style]:
    """A style for each class, where buckets do not distinguish them: 64 pairs of color and symbol, then again."""
    styles = (*_SEEN_STYLES, _UNSEEN_STYLE)
    return [
        replace(styles[index % len(styles)], symbol=styles[(index + index // len(styles)) % len(styles)].symbol)
        for index in range(number)
    ]
