"""Glyphs of OpenCV's Hershey fonts: the letters and digits, classes of a `mini_lvis` of up to 62 classes."""

from functools import cache

import cv2
import numpy as np

from lt_det.datasets.mini_lvis.scenes import MASTER_CAP, Image, crop

__all__ = ["HERSHEY_GLYPHS", "hershey_name", "random_hershey_mask"]

HERSHEY_GLYPHS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

_FONTS = (
    cv2.FONT_HERSHEY_SIMPLEX,
    cv2.FONT_HERSHEY_PLAIN,
    cv2.FONT_HERSHEY_DUPLEX,
    cv2.FONT_HERSHEY_COMPLEX,
    cv2.FONT_HERSHEY_TRIPLEX,
    cv2.FONT_HERSHEY_COMPLEX_SMALL,
    cv2.FONT_HERSHEY_SCRIPT_SIMPLEX,
    cv2.FONT_HERSHEY_SCRIPT_COMPLEX,
)
# (thickness for putText, dilation in pixels). OpenCV 4 draws strokes of any thickness, OpenCV 5 only has a light and a
# bold font; together the two give three clearly different weights with either version.
_WEIGHTS = ((1, 5), (6, 1), (6, 5))


def hershey_name(glyph: str) -> str:
    """A category name that is also a file name: `upper_a`, `lower_a` or `digit_0`."""
    kind = "digit" if glyph.isdigit() else "upper" if glyph.isupper() else "lower"
    return f"{kind}_{glyph.lower()}"


def random_hershey_mask(rng: np.random.Generator, glyph: str) -> Image:
    """The large mask of a glyph in a random font and weight."""
    font = _FONTS[int(rng.integers(len(_FONTS)))]
    return _master_mask(glyph, font, int(rng.integers(len(_WEIGHTS))))


@cache
def _font_scale(font: int) -> float:
    """The font scale at which capitals of `font` are `MASTER_CAP` pixels high."""
    canvas = np.zeros((200, 200), np.uint8)
    cv2.putText(canvas, "H", (20, 150), font, 2.0, 255, 6, cv2.LINE_AA)
    return 2.0 * MASTER_CAP / cv2.boundingRect(canvas)[3]


@cache
def _master_mask(glyph: str, font: int, weight: int) -> Image:
    """(h, w) uint8 large mask of one glyph, cropped to it: 255 inside."""
    thickness, dilation = _WEIGHTS[weight]
    canvas = np.zeros((4 * MASTER_CAP, 4 * MASTER_CAP), np.uint8)
    origin = (MASTER_CAP, 5 * MASTER_CAP // 2)
    cv2.putText(canvas, glyph, origin, font, _font_scale(font), 255, thickness, cv2.LINE_AA)
    if dilation > 1:
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (dilation, dilation))
        cv2.dilate(canvas, kernel, dst=canvas)
    return crop(canvas)
