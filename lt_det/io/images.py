"""Images of more than 8 bits per channel, for detectors that see 0 to 255. Pillow would clip them to 255.

The rule is the same for training, evaluation, prediction and reports:

* 16 bits: values are divided by 256 and rounded down, as OpenCV reads such files. An image without a value above 255
  holds 8-bit values and keeps them.
* 32 bits: whole numbers from 0 to 65535 as above, fractional numbers up to 255 as they are; everything else is refused,
  because nothing says which value is white.
"""

from __future__ import annotations

import logging

import numpy as np
from PIL import Image

logger = logging.getLogger(__name__)

_logged = False


class UnsupportedPixels(OSError):
    """An image whose values have no known range."""


def to_8_bits(image: Image.Image, quiet: bool = False) -> Image.Image:
    """An image with 8 bits per channel; one that has them already is returned unchanged.

    Args:
        image: of any of Pillow's modes; palettes, alpha channels and CMYK are left to Pillow's own conversion.
        quiet: do not log that values are scaled, which is otherwise logged once.

    Raises:
        UnsupportedPixels: 32-bit values that are no 16-bit ones.
        OSError: the file is truncated.
    """
    if not (image.mode in ("I", "F") or image.mode.startswith("I;")):
        return image
    pixels = np.asarray(image)
    low, high = (float(pixels.min()), float(pixels.max())) if pixels.size else (0.0, 0.0)
    if image.mode == "F":
        if not 0 <= low <= high <= 255 or 0 < high <= 1:
            raise UnsupportedPixels(_advice("fractional", low, high))
    elif not 0 <= low <= high <= 65535:
        raise UnsupportedPixels(_advice("whole", low, high))
    elif high > 255:
        global _logged
        if not _logged and not quiet:
            _logged = True
            logger.warning(
                "Images with 16 bits per channel are divided by 256 to 8 bits, in training as in evaluation; convert "
                "them beforehand if they use a smaller range, such as 12 bits, which makes them dark."
            )
        pixels = pixels >> 8
    return Image.fromarray(pixels.astype(np.uint8))


def _advice(kind: str, low: float, high: float) -> str:
    return (
        f"its pixels are {kind} 32-bit numbers from {low:g} to {high:g}, and nothing says which value is white; save "
        "it with 8 or 16 bits per channel"
    )
