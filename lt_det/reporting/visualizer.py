"""An image with a detector's output: boxes, masks and labels in the styles of the reports' buckets, and a legend.

Where all classes are in one bucket, each class has a style of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from lt_det.reporting.bucket_style import NO_BUCKET, Style, bucket_styles, class_styles
from lt_det.reporting.overlays import (
    BLACK,
    WHITE,
    RGBImage,
    draw_box,
    draw_labels,
    draw_masks,
    draw_text,
    font_for,
    line_width,
    rgb,
    score_words,
    text_size,
)
from lt_det.statistics.buckets import FrequencyBuckets

_SIZE = 600  # pixels of the longer side, to which small images are enlarged by an integer factor


@dataclass(frozen=True)
class Detections:
    """A detector's output for one image, by descending score.

    Attributes:
        boxes: (N, 4) x0, y0, x1, y1 in pixels.
        scores: (N,).
        classes: (N,) contiguous ids.
        masks: (N, H, W) bool, as large as the image, or None.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    classes: NDArray[np.int64]
    masks: NDArray[np.bool_] | None = None


class DetectionVisualizer:
    """Draws the detections of one dataset's classes."""

    def __init__(self, names: tuple[str, ...], buckets: FrequencyBuckets | None) -> None:
        """
        Args:
            names: of the K classes.
            buckets: of the same classes; None: they are unknown.

        Boxes have the colors of their buckets; where that would be one color for all, those of their classes.
        """
        self.names, self.buckets = names, buckets
        self._legend: list[tuple[str | None, Style]] = []
        if buckets is not None:
            self._legend += bucket_styles(buckets.names).items()
        if buckets is None or (buckets.assignment < 0).any():
            self._legend.append((None, NO_BUCKET))
        of_classes = [self.bucket_name(index) for index in range(len(names))]
        if len(set(of_classes)) > 1:
            self._styles = [dict(self._legend)[bucket] for bucket in of_classes]
        else:
            self._styles = class_styles(len(names))
            self._legend = [(bucket, NO_BUCKET) for bucket, _ in self._legend]

    def bucket_name(self, index: int) -> str | None:
        """Name of a class's bucket, if it has one."""
        bucket = -1 if self.buckets is None else int(self.buckets.assignment[index])
        return self.buckets.names[bucket] if self.buckets is not None and bucket >= 0 else None

    def draw(self, image: RGBImage, detections: Detections) -> RGBImage:
        """The image, enlarged if it is small, with its detections; the highest score lies on top.

        Images of one size give results of one size, with even sides, as videos need them.
        """
        height, width = image.shape[:2]
        zoom = max(1, round(_SIZE / max(height, width)))
        size = (width * zoom, height * zoom)
        enlarged = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)) if zoom > 1 else image
        buckets = [self.bucket_name(int(index)) for index in detections.classes]
        styles = [self._styles[index] for index in detections.classes]
        colors = [rgb(style.color) for style in styles]
        if detections.masks is not None:
            enlarged = draw_masks(enlarged, detections.masks, colors)
        canvas = Image.fromarray(enlarged)
        corners = (np.rint(box * zoom).astype(int).tolist() for box in detections.boxes)
        boxes = [(x0, y0, x1, y1) for x0, y0, x1, y1 in corners]
        for box, color in reversed(list(zip(boxes, colors, strict=True))):
            draw_box(canvas, box, color, line_width(canvas.size), halo=WHITE)
        texts = [
            f"{style.symbol} {self.names[index]} {score_words(score)}"
            for style, index, score in zip(styles, detections.classes, detections.scores, strict=True)
        ]
        draw_labels(canvas, boxes, texts, colors)
        return np.asarray(self._with_legend(canvas, buckets))

    def _with_legend(self, canvas: Image.Image, buckets: Sequence[str | None]) -> Image.Image:
        """Add a strip below with the number of detections in each bucket; its height depends only on the width."""
        font = font_for(canvas.size)
        gap = line_height = text_size("Ag", font)[1] + 4
        places, x, y = [], gap // 2, gap // 4
        entries = [(name, style, f"{style.symbol} {name or 'unknown frequency'}") for name, style in self._legend]
        for *_, text in entries:
            width = text_size(f"{text}: 000", font)[0]
            if x > gap // 2 and x + width > canvas.width:
                x, y = gap // 2, y + line_height
            places.append((x, y))
            x += width + gap
        strip = y + line_height + gap // 4
        strip += (canvas.height + strip) % 2
        result = Image.new("RGB", (canvas.width + canvas.width % 2, canvas.height + strip), WHITE)
        result.paste(canvas, (0, 0))
        draw = ImageDraw.Draw(result)
        for (name, style, text), (x, y) in zip(entries, places, strict=True):
            place = (x, canvas.height + y)
            draw_text(draw, place, f"{text}: {buckets.count(name)}", BLACK, font)
            draw_text(draw, place, style.symbol, style.color, font)
        return result
