"""Glyphs of DejaVu Sans, matplotlib's font, for a `mini_lvis` of more than 62 classes.

The code points of `dejavu.txt` were chosen by `glyph_selection`, to look different in the ways in which they are drawn.
"""

import unicodedata
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from lt_det.datasets.mini_lvis.scenes import MASTER_CAP, Image, crop

__all__ = ["dejavu_glyphs", "dejavu_mask", "dejavu_name", "random_dejavu_mask"]

WEIGHTS = (1, 3, 5)  # dilation in pixels of the large mask; a stem of the font is about 9 pixels wide
_ZOOM = 4  # the polygons are filled this many times larger, then averaged
_SUBPIXEL_BITS = 4


@cache
def dejavu_glyphs() -> tuple[str, ...]:
    """The characters that can be classes, the most distinct first: any first K of them are a good choice of K."""
    lines = Path(__file__).with_name("dejavu.txt").read_text(encoding="ascii").splitlines()
    return tuple(chr(int(code, 16)) for line in lines if not line.startswith("#") for code in line.split())


def dejavu_name(glyph: str) -> str:
    """A category name that is also a file name: `u0416_cyrillic_capital_letter_zhe`."""
    words = unicodedata.name(glyph).lower().replace("-", "_").replace(" ", "_")
    return f"u{ord(glyph):04x}_{words}"


def random_dejavu_mask(rng: np.random.Generator, glyph: str) -> Image:
    """The large mask of a glyph in a random weight."""
    return dejavu_mask(glyph, int(rng.integers(len(WEIGHTS))))


@cache
def dejavu_mask(glyph: str, weight: int) -> Image:
    """(h, w) uint8 mask of one glyph, cropped to it: 255 inside.

    The longer side has the height of a capital whatever the glyph's size in the font, so that scripts with small
    letters are not harder than others.
    """
    mask = _filled(glyph)
    if WEIGHTS[weight] > 1:
        margin = WEIGHTS[weight]
        mask = cv2.copyMakeBorder(mask, margin, margin, margin, margin, cv2.BORDER_CONSTANT, value=0)
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (WEIGHTS[weight], WEIGHTS[weight]))
        mask = cv2.dilate(mask, kernel).astype(np.uint8)
    return crop(mask)


@cache
def _filled(glyph: str) -> Image:
    """(h, w) uint8 mask of the glyph as the font has it, its longer side `MASTER_CAP` pixels."""
    # Imported here: with up to 62 classes, nothing of matplotlib is needed.
    from matplotlib import get_data_path
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    font = FontProperties(fname=str(Path(get_data_path()) / "fonts/ttf/DejaVuSans.ttf"))
    rings = [np.asarray(ring, np.float64) for ring in TextPath((0, 0), glyph, size=100, prop=font).to_polygons()]
    points = np.concatenate(rings)
    low, high = points.min(axis=0), points.max(axis=0)
    zoom = _ZOOM * MASTER_CAP / (high - low).max()
    width, height = (_ZOOM * (int(np.ceil(side * zoom / _ZOOM)) + 2) for side in (high - low).tolist())
    # As fonts do, a point is inside where the rings wind around it, so that overlapping strokes are no holes.
    winding = np.zeros((height, width), np.int16)
    for ring in rings:
        scaled = (ring - [low[0], high[1]]) * [zoom, -zoom] + _ZOOM
        x, y = scaled.T
        single = np.zeros((height, width), np.uint8)
        cv2.fillPoly(single, [np.round(scaled * 2**_SUBPIXEL_BITS).astype(np.int32)], 1, shift=_SUBPIXEL_BITS)
        winding += single if (x * np.roll(y, 1) - y * np.roll(x, 1)).sum() > 0 else -single.astype(np.int16)
    inside = np.where(winding != 0, 255, 0).astype(np.uint8)
    return cv2.resize(inside, (width // _ZOOM, height // _ZOOM), interpolation=cv2.INTER_AREA).astype(np.uint8)
