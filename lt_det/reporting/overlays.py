"""Boxes, masks and labels on images, with Pillow; example images and the demo share it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw, ImageFont

from lt_det.reporting.fonts import FONT, font_runs, report_missing_letters
from lt_det.terminal import printable

RGBImage = NDArray[np.uint8]  # (H, W, 3)
Color = tuple[int, int, int]
Box = tuple[int, int, int, int]  # x0, y0, x1, y1

WHITE, BLACK = "#ffffff", "#1c1e21"

_FONT_SIZES = (13, 26)  # smallest and largest
_MASK_OPACITY = 0.4
_STACK = 5  # labels above a box


def draw_box(
    canvas: Image.Image, box: Box, color: Color | str, width: int, halo: str, dashes: tuple[int, int] | None = None
) -> None:
    """A box inside a halo, so that it is visible on any image.

    Args:
        box: corners in pixels; an inverted one is drawn as a point.
        width: of the line, in pixels.
        halo: its color.
        dashes: lengths of dash and gap in pixels; None: a solid line.
    """
    x0, y0, x1, y1 = box
    x1, y1 = max(x0, x1), max(y0, y1)
    draw = ImageDraw.Draw(canvas)
    draw.rectangle((x0 - 1, y0 - 1, x1 + 1, y1 + 1), outline=halo, width=width + 2)
    if dashes is None:
        draw.rectangle((x0, y0, x1, y1), outline=color, width=width)
        return
    dash, gap = dashes
    for start in range(x0, x1 + 1, dash + gap):
        stop = min(start + dash - 1, x1)
        draw.rectangle((start, y0, stop, y0 + width - 1), fill=color)
        draw.rectangle((start, y1 - width + 1, stop, y1), fill=color)
    for start in range(y0, y1 + 1, dash + gap):
        stop = min(start + dash - 1, y1)
        draw.rectangle((x0, start, x0 + width - 1, stop), fill=color)
        draw.rectangle((x1 - width + 1, start, x1, stop), fill=color)


def draw_masks(image: RGBImage, masks: NDArray[np.bool_], colors: Sequence[Color]) -> RGBImage:
    """Tint (N, H', W') masks, which are scaled to the image; the first lies on top."""
    tinted = image.astype(np.float32)
    size = image.shape[1::-1]
    scaled = [np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST)) for mask in masks]
    covered = np.zeros(image.shape[:2], dtype=bool)
    for mask, color in zip(scaled, colors, strict=True):
        visible = mask & ~covered
        tinted[visible] += _MASK_OPACITY * (np.array(color, dtype=np.float32) - tinted[visible])
        covered |= mask
    result = tinted.round().astype(np.uint8)
    for mask, color in reversed(list(zip(scaled, colors, strict=True))):
        result[mask & ~_interior(mask)] = color
    return result


def draw_labels(canvas: Image.Image, boxes: Sequence[Box], texts: Sequence[str], colors: Sequence[Color]) -> None:
    """A filled label at each box, where it covers no other if there is room; the first lies on top."""
    report_missing_letters(map(printable, texts))
    draw, font = ImageDraw.Draw(canvas), font_for(canvas.size)
    places = place_labels(boxes, [text_size(text, font) for text in texts], canvas.size)
    for text, place, color in reversed(list(zip(texts, places, colors, strict=True))):
        draw.rectangle(place, fill=color, outline=WHITE)
        draw_text(draw, (place[0] + _padding(font), place[1] + 1), text, _readable_on(color), font)


def place_labels(boxes: Sequence[Box], sizes: Sequence[tuple[int, int]], image_size: tuple[int, int]) -> list[Box]:
    """For each box in turn, the first position around it without another label, or else directly above it.

    Labels of many boxes on one object are stacked.
    """
    taken: list[Box] = []
    for (x0, y0, x1, y1), (width, height) in zip(boxes, sizes, strict=True):
        wanted = [(x0, y0 - height), (x0, y1), (x0, y0), (x1 - width, y0 - height), (x1 - width, y1), (x0, y1 - height)]
        wanted += [(x0, y) for row in range(1, _STACK) for y in (y0 - (row + 1) * height, y1 + row * height)]
        places = []
        for x, y in wanted:
            x, y = max(0, min(x, image_size[0] - width - 1)), max(0, min(y, image_size[1] - height - 1))
            places.append((x, y, x + width, y + height))
        free = [place for place in places if not any(overlap(place, other) for other in taken)]
        taken.append((free or places)[0])
    return taken


def overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def line_width(size: tuple[int, int]) -> int:
    """Pixels of a box's line on an image of this size."""
    return max(3, round(max(size) / 400))


def font_for(size: tuple[int, int]) -> ImageFont.FreeTypeFont:
    """A font that is readable on an image of this size."""
    small, large = _FONT_SIZES
    return _load_font(min(max(round(max(size) / 70), small), large))


def text_size(text: str, font: ImageFont.FreeTypeFont) -> tuple[int, int]:
    """Width and height of a label with this text, padding included."""
    ascent, descent = font.getmetrics()
    width = sum(_load_font(font.size, file).getlength(part) for file, part in font_runs(printable(text)))
    return round(width) + 2 * _padding(font), ascent + descent + 2


def draw_text(
    draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, color: str, font: ImageFont.FreeTypeFont
) -> None:
    """Text whose top left corner is `place`; letters that the font lacks come from another one."""
    runs = font_runs(printable(text))
    if all(file == FONT for file, _ in runs):
        draw.text(place, printable(text), fill=color, font=font)
        return
    left, baseline = float(place[0]), place[1] + font.getmetrics()[0]
    for file, part in runs:
        run_font = _load_font(font.size, file)
        draw.text((left, baseline), part, fill=color, font=run_font, anchor="ls")
        left += run_font.getlength(part)


def score_words(score: float) -> str:
    """Two decimals, or two significant digits below 0.1: a detector for LVIS keeps scores of 0.0001."""
    if score <= 0 or score >= 0.0995:
        return f"{score:.2f}"
    return f"{score:.2g}" if score >= 0.0001 else "below 0.0001"


def rgb(color: str) -> Color:
    red, green, blue = ImageColor.getrgb(color)[:3]
    return red, green, blue


def _interior(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels whose four neighbors are in the mask, too."""
    padded = np.pad(mask, 1)
    return padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]


@cache
def _load_font(size: float, file: Path = FONT) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(file), size)


def _padding(font: ImageFont.FreeTypeFont) -> int:
    return round(font.size / 4)


def _readable_on(color: Color) -> str:
    """Dark or light letters, by the color's brightness (ITU-R BT.601)."""
    red, green, blue = color
    return BLACK if 0.299 * red + 0.587 * green + 0.114 * blue > 128 else WHITE
