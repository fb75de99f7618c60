"""One image of a set with some boxes, small enough to be embedded in a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from PIL import Image, ImageOps

from lt_det.errors import LtDetError
from lt_det.io.annotations.coco_json import image_file_name
from lt_det.io.images import to_8_bits
from lt_det.io.regular_files import check_regular, inside_folder
from lt_det.reporting.overlays import BLACK, WHITE, Box, draw_box

# A true box, a detection of the same class, and one of another class.
BoxKind = Literal["true", "own", "other"]

_SIZE = 320  # pixels of the longer side
_LINE, _JPEG_QUALITY = 2, 80
_LINES: dict[BoxKind, tuple[str, tuple[int, int] | None]] = {  # color and dashes
    "true": (WHITE, None),
    "own": ("#ffb000", (7, 4)),
    "other": ("#56d4ff", (2, 3)),
}

# What images and files of a set, which anyone may have written, can raise; `why_missing` says so in a sentence.
UNUSABLE = (
    OSError,
    ValueError,
    ArithmeticError,
    KeyError,
    TypeError,
    IndexError,
    Image.DecompressionBombError,
    LtDetError,
)


@dataclass(frozen=True)
class Example:
    """An image with its boxes, as a data URI, and what it shows in words; width and height in pixels."""

    name: str
    image: str
    width: int
    height: int
    caption: str


def draw_example(
    file: Path, image: dict[str, Any], boxes: Iterable[tuple[list[float], BoxKind]], name: str, caption: str
) -> Example:
    """
    Args:
        file: see `image_file`.
        image: the record of the image, with its ``width`` and ``height``.
        boxes: x, y, width, height in pixels of the image; the last lies on top.

    Raises:
        OSError: the file cannot be read.
    """
    canvas = _thumbnail(file)
    scale = canvas.width / float(image["width"]), canvas.height / float(image["height"])
    for box, kind in boxes:
        color, dashes = _LINES[kind]
        draw_box(canvas, _scaled(box, scale), color, _LINE, halo=BLACK, dashes=dashes)
    return Example(name, _data_uri(canvas), *canvas.size, caption)


def image_file(image_root: str, image: dict[str, Any], json_file: str, outside_images: bool) -> Path:
    """The file of an image of an annotation file.

    Args:
        outside_images: also take images that are not in the image folder: ``file_name`` has ``..``, or is absolute.

    Raises:
        LtDetError: the image is outside the image folder: a page is passed on, and an annotation file from elsewhere
            could embed any image of this machine in it.
    """
    name = image_file_name(image, json_file)
    file = Path(image_root, name) if outside_images else inside_folder(image_root, name)
    if file is None:
        raise LtDetError(f"the image {name} is not in the image folder {image_root}; --outside-images embeds it.")
    return file


def why_missing(error: BaseException) -> str:
    """Why there are no example images, in a sentence, from one of `UNUSABLE`."""
    if isinstance(error, FileNotFoundError):
        return f"No example images: {error.filename} does not exist."
    return f"No example images: {error}"


def _thumbnail(file: Path) -> Image.Image:
    check_regular(file)
    with Image.open(file) as opened:
        image = to_8_bits(ImageOps.exif_transpose(opened)).convert("RGB")  # as Detectron2 reads it
    image.thumbnail((_SIZE, _SIZE))
    zoom = _SIZE // max(image.size)  # boxes on a small image would be coarse
    return image.resize((image.width * zoom, image.height * zoom), Image.Resampling.BICUBIC) if zoom > 1 else image


def _scaled(box: list[float], scale: tuple[float, float]) -> Box:
    """Corners in pixels of the thumbnail, from x, y, width, height in pixels of the image."""
    x, y, width, height = map(float, box)
    return round(x * scale[0]), round(y * scale[1]), round((x + width) * scale[0]), round((y + height) * scale[1])


def _data_uri(image: Image.Image) -> str:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=_JPEG_QUALITY, subsampling=0)  # thin lines keep their color
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()
