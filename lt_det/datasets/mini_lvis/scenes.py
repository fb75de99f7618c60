"""The synthetic images of `mini_lvis`: glyphs on a cluttered background, and their exact segmentations.

Images are height x width x 3 uint8 arrays in OpenCV's blue-green-red order. Coordinates are in pixels from the
upper left corner of the upper left pixel, as in COCO and LVIS.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

__all__ = [
    "MASTER_CAP",
    "MAX_SHEAR",
    "MAX_TURN",
    "Image",
    "Polygon",
    "RandomMask",
    "crop",
    "draw_scene",
    "polygon_area",
]

Image = npt.NDArray[np.uint8]
Polygon = list[float]  # x0, y0, x1, y1, ... in pixels
RandomMask = Callable[[np.random.Generator, str], Image]  # large mask of a glyph, cropped to it: 255 inside

MASTER_CAP = 72  # height in pixels of a capital in the masks that scenes are scaled from
_CAP_FRACTION = 0.25  # height of a capital before random scaling, as a fraction of the image's side
_SCALES = (0.7, 1.25)
MAX_TURN = 20.0  # degrees to either side
MAX_SHEAR = 0.15
_MAX_OVERLAP = 0.15  # as a fraction of the smaller of two boxes; stricter than the same bound on IoU
_PLACE_TRIES = 60
_SHRINK, _MAX_SHRINKS = 0.85, 10
_MIN_CONTRAST = 120.0  # color distance between a glyph and both ends of the background
_CONTOUR_ZOOM = 4  # contours are traced on a mask this many times finer than the image
_CONTOUR_TOLERANCE = 0.3  # pixels by which a simplified polygon may deviate from its contour
_MIN_PART_AREA = 4.0  # square pixels; smaller parts that an overlap leaves visible get no polygon


# --------------------------------------------------------------------------------------------- objects


def crop(mask: Image) -> Image:
    x, y, width, height = cv2.boundingRect(mask)
    return mask[y : y + height, x : x + width]


@dataclass(frozen=True)
class _Look:
    """How one object is drawn: its large mask, and the 2 x 2 matrix that maps the mask to pixels of the image."""

    master: Image
    shape: npt.NDArray[np.float64]


def _random_look(rng: np.random.Generator, master: Image, size: int) -> _Look:
    scale = rng.uniform(*_SCALES) * size * _CAP_FRACTION / MASTER_CAP
    turn = math.radians(rng.uniform(-MAX_TURN, MAX_TURN))
    cos, sin = math.cos(turn), math.sin(turn)
    shear = rng.uniform(-MAX_SHEAR, MAX_SHEAR)
    shape = scale * np.array([[cos, -sin], [sin, cos]]) @ np.array([[1.0, shear], [0.0, 1.0]])
    return _Look(master, shape)


def _render(look: _Look, shrink: float) -> npt.NDArray[np.float32]:
    """(h, w) float32 coverage mask of an object, 0 to 1, cropped to it."""
    # Warped to twice the size, then averaged: a direct warp to about a third of the mask's size would alias.
    shape = 2.0 * shrink * look.shape
    height, width = look.master.shape
    corners = shape @ np.array([[0, width, 0, width], [0, 0, height, height]], np.float64)
    low, high = corners.min(axis=1), corners.max(axis=1)
    out_width, out_height = (2 * math.ceil(side / 2) + 4 for side in (high - low).tolist())
    matrix = np.hstack([shape, (2.0 - low)[:, None]])
    large = cv2.warpAffine(look.master, matrix, (out_width, out_height), flags=cv2.INTER_LINEAR)
    small = cv2.resize(large, (out_width // 2, out_height // 2), interpolation=cv2.INTER_AREA)
    return crop(small.astype(np.uint8)).astype(np.float32) / np.float32(255)


# ---------------------------------------------------------------------------------------------- scenes


def draw_scene(
    rng: np.random.Generator, glyphs: Sequence[str], size: int, random_mask: RandomMask
) -> tuple[Image, list[list[Polygon]]]:
    """Draw one image with one object for each entry of `glyphs`.

    Args:
        rng: source of everything random.
        glyphs: characters.
        size: width and height of the image in pixels.
        random_mask: gives the large mask of a character, in a random weight and font.

    Returns:
        the image, (size, size, 3) uint8 in BGR order, and the segmentation of each object: one polygon for each
        separate visible part, at least one, without holes, with coordinates from 0 to `size`.
    """
    canvas, ends = _background(rng, size)
    boxes = np.zeros((0, 4))
    masks: list[npt.NDArray[np.float32]] = []
    for glyph in glyphs:
        mask, box = _place(rng, _random_look(rng, random_mask(rng, glyph), size), boxes, size)
        x, y, x_end, y_end = (int(edge) for edge in box)
        color = _contrasting_color(rng, ends)
        patch = canvas[y:y_end, x:x_end]
        patch += mask[..., None] * (color - patch)
        for earlier, other in zip(boxes, masks, strict=True):
            _hide(other, earlier, mask, box)
        boxes = np.vstack([boxes, box])
        masks.append(mask)
    noisy = rng.standard_normal(canvas.shape, dtype=np.float32)
    noisy *= np.float32(rng.uniform(4, 14))
    noisy += canvas
    noisy += np.float32(0.5)  # rounds, because the cast below truncates
    image = np.clip(noisy, 0, 255, out=noisy).astype(np.uint8)
    segmentations = [_polygons(mask, float(box[0]), float(box[1])) for mask, box in zip(masks, boxes, strict=True)]
    return image, segmentations


def _background(rng: np.random.Generator, size: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """A color gradient with clutter, (size, size, 3), and the two end colors of the gradient, (2, 3)."""
    first = rng.uniform(20, 235, 3)
    ends = np.stack([first, np.clip(first + rng.uniform(-45, 45, 3), 0, 255)]).astype(np.float32)
    angle = rng.uniform(0, 2 * math.pi)
    ramp = np.linspace(-0.5, 0.5, size, dtype=np.float32)
    fraction = np.clip(0.5 + math.cos(angle) * ramp[None, :] + math.sin(angle) * ramp[:, None], 0, 1)
    canvas = ends[0] + fraction[..., None].astype(np.float32) * (ends[1] - ends[0])
    for _ in range(int(rng.integers(4, 9))):
        # Close to the background's color, so that clutter distracts but is not mistaken for a glyph.
        color = np.clip(ends[0] + rng.uniform(-50, 50, 3), 0, 255).tolist()
        (x0, y0), (x1, y1) = rng.integers(0, size, (2, 2)).tolist()
        width = int(rng.integers(1, 4))
        kind = int(rng.integers(4))
        if kind == 0:
            cv2.ellipse(canvas, (x0, y0), (size // 8 + x1 // 4, size // 8 + y1 // 4), 0, 0, 360, color, width)
        elif kind == 1:
            cv2.rectangle(canvas, (x0, y0), (x1, y1), color, width)
        elif kind == 2:
            cv2.circle(canvas, (x0, y0), 2 + x1 // 10, color, -1)
        else:
            cv2.line(canvas, (x0, y0), (x1, y1), color, width)
    return canvas, ends


def _contrasting_color(rng: np.random.Generator, ends: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """A random color that differs clearly from both end colors (2, 3) of the background."""
    trials = rng.uniform(0, 255, (16, 3)).astype(np.float32)
    distances = np.linalg.norm(trials[:, None] - ends[None], axis=2).min(axis=1)
    good = np.flatnonzero(distances >= _MIN_CONTRAST)
    picked: npt.NDArray[np.float32] = trials[good[0] if len(good) else distances.argmax()]
    return picked


def _place(
    rng: np.random.Generator, look: _Look, boxes: npt.NDArray[np.float64], size: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
    """Find a place for an object that hardly overlaps the `boxes` (n, 4; x0 y0 x1 y1); shrink it until there is one.

    Returns:
        the object's mask and its box. If there is no free place even for the smallest, the one that overlaps least.
    """
    for shrinks in range(_MAX_SHRINKS + 1):
        mask = _render(look, _SHRINK**shrinks)
        sides = np.array(mask.shape[::-1], np.float64)
        corners = np.floor(rng.random((_PLACE_TRIES, 2)) * (size - sides + 1))
        trials = np.hstack([corners, corners + sides])
        overlaps = _overlaps(trials, boxes)
        free = np.flatnonzero(overlaps <= _MAX_OVERLAP)
        if len(free):
            return mask, trials[free[0]]
    return mask, trials[overlaps.argmin()]


def _overlaps(trials: npt.NDArray[np.float64], boxes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(n,) largest overlap of each trial box (n, 4) with any of the boxes (m, 4), as a fraction of the smaller one."""
    low = np.maximum(trials[:, None, :2], boxes[None, :, :2])
    high = np.minimum(trials[:, None, 2:], boxes[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    areas = [(group[:, 2:] - group[:, :2]).prod(axis=1) for group in (trials, boxes)]
    fractions = shared / np.minimum(areas[0][:, None], areas[1][None, :])
    largest: npt.NDArray[np.float64] = fractions.max(axis=1, initial=0.0)
    return largest


def _hide(
    mask: npt.NDArray[np.float32],
    box: npt.NDArray[np.float64],
    upper_mask: npt.NDArray[np.float32],
    upper_box: npt.NDArray[np.float64],
) -> None:
    """Remove from `mask`, in place, what an object drawn later covers, so that its segmentation stays exact."""
    x0, y0 = np.maximum(box[:2], upper_box[:2]).astype(int).tolist()
    x1, y1 = np.minimum(box[2:], upper_box[2:]).astype(int).tolist()
    if x0 >= x1 or y0 >= y1:
        return
    (left, top), (upper_left, upper_top) = box[:2].astype(int).tolist(), upper_box[:2].astype(int).tolist()
    lower = mask[y0 - top : y1 - top, x0 - left : x1 - left]
    upper = upper_mask[y0 - upper_top : y1 - upper_top, x0 - upper_left : x1 - upper_left]
    np.minimum(lower, 1 - upper, out=lower)


def _polygons(mask: npt.NDArray[np.float32], left: float, top: float) -> list[Polygon]:
    """Outer contours of a coverage mask whose upper left corner is at (left, top), as polygons."""
    padded = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    height, width = padded.shape
    fine = cv2.resize(padded, (width * _CONTOUR_ZOOM, height * _CONTOUR_ZOOM), interpolation=cv2.INTER_LINEAR)
    found, _ = cv2.findContours((fine >= 0.5).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    bounds = np.array([[left, top], [left + mask.shape[1], top + mask.shape[0]]])
    parts: list[tuple[float, Polygon]] = []
    for contour in found:
        simplified = cv2.approxPolyDP(contour, _CONTOUR_TOLERANCE * _CONTOUR_ZOOM, closed=True)[:, 0]
        # Contours run through pixel centers: shift by half a fine pixel, and take off the padding.
        points = (simplified + 0.5) / _CONTOUR_ZOOM - 1 + bounds[0]
        polygon = np.round(np.clip(points, *bounds), 2).ravel().tolist()
        if len(polygon) >= 6:
            parts.append((polygon_area(polygon), polygon))
    parts.sort(key=lambda part: -part[0])
    # The largest part is kept at any size: every object has a segmentation.
    return [polygon for index, (area, polygon) in enumerate(parts) if index == 0 or area >= _MIN_PART_AREA]


def polygon_area(polygon: Polygon) -> float:
    """Area of one polygon x0, y0, x1, y1, ... in square pixels."""
    # Plain floats are several times faster than arrays for a few dozen points.
    x, y = polygon[::2], polygon[1::2]
    return abs(sum(x[i - 1] * y[i] - x[i] * y[i - 1] for i in range(len(x)))) / 2
