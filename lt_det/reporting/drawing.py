"""Detections drawn on a picture: boxes, masks and names in the colours and marks of the reports' buckets."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw, ImageFont

from lt_det.reporting.plots import NO_BUCKET, bucket_colours, bucket_marks
from lt_det.statistics.buckets import FrequencyBuckets

Picture = NDArray[np.uint8]  # (H, W, 3), red, green, blue

_SIZE = 600  # pixels of the longer side, to which small pictures are enlarged, by a whole number
_FONT = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"  # knows accents, Greek, Cyrillic, marks
_FONT_SIZES = (13, 26)
_PAPER, _INK = "#ffffff", "#1c1e21"
_MASK_SHARE = 0.4
_STACK = 5  # labels above a box
_NO_MARK = "•"


@dataclass(frozen=True)
class Found:
    """What a detector found in a picture, by falling score.

    Attributes:
        boxes: (N, 4) x0, y0, x1, y1 in pixels.
        scores: (N,).
        classes: (N,) contiguous ids.
        masks: (N, H, W) bool of the whole picture, or None.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    classes: NDArray[np.int64]
    masks: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Look:
    """Of a bucket."""

    name: str
    mark: str
    colour: tuple[int, int, int]


class Painter:
    """Draws pictures of one data set, each above a legend of its buckets."""

    def __init__(self, names: tuple[str, ...], buckets: FrequencyBuckets | None) -> None:
        """
        Args:
            names: of the K classes.
            buckets: of the same classes; None: they are not known, and everything is grey.
        """
        self.names, self.buckets = names, buckets
        self._no_bucket = Look("", _NO_MARK, _rgb(NO_BUCKET))
        self._looks: list[Look] = []
        if buckets is not None:
            colours, marks = bucket_colours(buckets.names), bucket_marks(buckets.names)
            self._looks = [Look(name, marks[name], _rgb(colours[name])) for name in buckets.names]
        rest = buckets is None or bool((buckets.assignment < 0).any())
        self._shown = [*self._looks, *([self._no_bucket] if rest else [])]

    def look(self, index: int) -> Look:
        """Of the bucket of a class; without a name where that has none."""
        bucket = -1 if self.buckets is None else int(self.buckets.assignment[index])
        return self._looks[bucket] if bucket >= 0 else self._no_bucket

    def draw(self, picture: Picture, found: Found) -> Picture:
        """The picture, enlarged if it is small, with its detections; the highest score lies on top.

        Pictures of one size come out in one size, with even sides, as films need them.
        """
        height, width = picture.shape[:2]
        zoom = max(1, round(_SIZE / max(height, width)))
        size = (width * zoom, height * zoom)
        enlarged = cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC).astype(np.uint8) if zoom > 1 else picture
        looks = [self.look(int(index)) for index in found.classes]
        if found.masks is not None:
            enlarged = _with_masks(enlarged, found.masks, looks)
        canvas = Image.fromarray(enlarged)
        self._draw_boxes(canvas, found, looks, zoom)
        return np.asarray(self._with_legend(canvas, looks))

    def _draw_boxes(self, canvas: Image.Image, found: Found, looks: list[Look], zoom: int) -> None:
        draw = ImageDraw.Draw(canvas)
        font, line = _font(canvas.size), _line_width(canvas.size)
        texts = [
            f"{look.mark} {self.names[index]} {score:.2f}"
            for look, index, score in zip(looks, found.classes, found.scores, strict=True)
        ]
        boxes = [tuple(round(float(value)) for value in box * zoom) for box in found.boxes]
        labels = _place_labels(boxes, [_text_size(text, font) for text in texts], canvas.size)
        for box, look in reversed(list(zip(boxes, looks, strict=True))):
            x0, y0, x1, y1 = box
            x1, y1 = max(x0, x1), max(y0, y1)
            draw.rectangle((x0 - 1, y0 - 1, x1 + 1, y1 + 1), outline=_PAPER, width=line + 2)  # shows on any picture
            draw.rectangle((x0, y0, x1, y1), outline=look.colour, width=line)
        for text, label, look in reversed(list(zip(texts, labels, looks, strict=True))):
            draw.rectangle(label, fill=look.colour, outline=_PAPER)
            draw.text((label[0] + _padding(font), label[1] + 1), text, fill=_readable_on(look.colour), font=font)

    def _with_legend(self, canvas: Image.Image, looks: list[Look]) -> Image.Image:
        """A strip below with what was found by bucket; its height depends on the width alone."""
        shown = self._shown
        font = _font(canvas.size)
        gap = line_height = _text_size("Ag", font)[1] + 4
        entries = [(look, f"{look.mark} {look.name or 'frequency not known'}") for look in shown]
        places, x, y = [], gap // 2, gap // 4
        for _, text in entries:
            width = _text_size(f"{text}: 000", font)[0]
            if x > gap // 2 and x + width > canvas.width:
                x, y = gap // 2, y + line_height
            places.append((x, y))
            x += width + gap
        strip = y + line_height + gap // 4
        strip += (canvas.height + strip) % 2
        whole = Image.new("RGB", (canvas.width + canvas.width % 2, canvas.height + strip), _PAPER)
        whole.paste(canvas, (0, 0))
        draw = ImageDraw.Draw(whole)
        for (look, text), (x, y) in zip(entries, places, strict=True):
            place = (x, canvas.height + y)
            draw.text(place, f"{text}: {sum(other.name == look.name for other in looks)}", fill=_INK, font=font)
            draw.text(place, look.mark, fill=look.colour, font=font)
        return whole


def _with_masks(picture: Picture, masks: NDArray[np.bool_], looks: list[Look]) -> Picture:
    tinted = picture.copy()
    outlines: list[tuple[Any, Look]] = []
    for mask, look in reversed(list(zip(masks, looks, strict=True))):
        whole = cv2.resize(mask.astype(np.uint8), picture.shape[1::-1], interpolation=cv2.INTER_NEAREST)
        tinted[whole > 0] = look.colour
        outlines.append((cv2.findContours(whole, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0], look))
    tinted = cv2.addWeighted(tinted, _MASK_SHARE, picture, 1 - _MASK_SHARE, 0).astype(np.uint8)
    for outline, look in outlines:
        cv2.drawContours(tinted, outline, -1, look.colour, 1, cv2.LINE_AA)
    return tinted


def _place_labels(boxes: list[Any], sizes: list[tuple[int, int]], picture: tuple[int, int]) -> list[Any]:
    """For each box, the highest score first, the first place about it that no label has; else the one above it.

    Where many boxes lie on one object, their labels are stacked.
    """
    taken: list[tuple[int, int, int, int]] = []
    for (x0, y0, x1, y1), (width, height) in zip(boxes, sizes, strict=True):
        wanted = [(x0, y0 - height), (x0, y1), (x0, y0), (x1 - width, y0 - height), (x1 - width, y1), (x0, y1 - height)]
        wanted += [(x0, y) for row in range(1, _STACK) for y in (y0 - (row + 1) * height, y1 + row * height)]
        places = []
        for x, y in wanted:
            x, y = max(0, min(x, picture[0] - width - 1)), max(0, min(y, picture[1] - height - 1))
            places.append((x, y, x + width, y + height))
        free = [place for place in places if not any(_overlap(place, other) for other in taken)]
        taken.append((free or places)[0])
    return taken


def _overlap(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _line_width(size: tuple[int, int]) -> int:
    return max(3, round(max(size) / 400))


def _font(size: tuple[int, int]) -> ImageFont.FreeTypeFont:
    small, large = _FONT_SIZES
    return _load_font(min(max(round(max(size) / 70), small), large))


@cache
def _load_font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(_FONT), size)


def _text_size(text: str, font: ImageFont.FreeTypeFont) -> tuple[int, int]:
    """Of the text with its padding."""
    ascent, descent = font.getmetrics()
    return round(font.getlength(text)) + 2 * _padding(font), ascent + descent + 2


def _padding(font: ImageFont.FreeTypeFont) -> int:
    return round(font.size / 4)


def _rgb(colour: str) -> tuple[int, int, int]:
    red, green, blue = ImageColor.getrgb(colour)[:3]
    return red, green, blue


def _readable_on(colour: tuple[int, int, int]) -> str:
    """Dark or light letters, by the colour's brightness (ITU-R BT.601)."""
    red, green, blue = colour
    return _INK if 0.299 * red + 0.587 * green + 0.114 * blue > 128 else _PAPER
