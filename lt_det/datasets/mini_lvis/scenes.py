"""Drawing for `mini_lvis`: glyph masks, and cluttered scenes of them with true outlines.

Images are height x width x 3 uint8 arrays in OpenCV's blue-green-red order. Coordinates are pixels with
the origin at the upper left corner of the upper left pixel, as in COCO and LVIS.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["GLYPHS", "Image", "Polygon", "draw_scene", "polygon_area"]

Image = npt.NDArray[np.uint8]
Polygon = list[float]  # x0, y0, x1, y1, ... in pixels

GLYPHS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

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
# (thickness given to putText, widening in pixels). OpenCV 4 strokes thin lines and OpenCV 5 knows only a
# light and a bold cut, so both are needed for three clearly different weights in either.
_WEIGHTS = ((1, 5), (6, 1), (6, 5))
_MASTER_CAP = 72  # height in pixels of a capital in the masks that scenes are scaled from
_CAP_SHARE = 0.25  # height of a capital before random scaling, as a share of the image's side
_SCALES = (0.7, 1.25)
_MAX_TURN = 20.0  # degrees to either side
_MAX_SHEAR = 0.15
_MAX_OVERLAP = 0.15  # share of the smaller of two boxes; stricter than the same bound on IoU
_PLACE_TRIES = 60
_SHRINK, _MAX_SHRINKS = 0.85, 10
_MIN_CONTRAST = 120.0  # colour distance between a glyph and both ends of the background
_OUTLINE_ZOOM = 4  # outlines are traced on a mask this much finer than the image
_OUTLINE_SLACK = 0.3  # pixels by which an outline may stray when its points are thinned
_MIN_PART_AREA = 4.0  # square pixels; smaller specks left by an overlap are not outlined


# ---------------------------------------------------------------------------------------------- glyphs


@cache
def _font_scale(font: int) -> float:
    """Font scale at which a capital of `font` is `_MASTER_CAP` pixels high."""
    canvas = np.zeros((200, 200), np.uint8)
    cv2.putText(canvas, "H", (20, 150), font, 2.0, 255, 6, cv2.LINE_AA)
    return 2.0 * _MASTER_CAP / cv2.boundingRect(canvas)[3]


@cache
def _master_mask(glyph: str, font: int, weight: int) -> Image:
    """Large mask of one glyph, cropped to it; h x w uint8, 255 inside."""
    thickness, widening = _WEIGHTS[weight]
    canvas = np.zeros((4 * _MASTER_CAP, 4 * _MASTER_CAP), np.uint8)
    origin = (_MASTER_CAP, 5 * _MASTER_CAP // 2)
    cv2.putText(canvas, glyph, origin, font, _font_scale(font), 255, thickness, cv2.LINE_AA)
    if widening > 1:
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (widening, widening))
        cv2.dilate(canvas, kernel, dst=canvas)
    return _crop(canvas)


def _crop(mask: Image) -> Image:
    x, y, width, height = cv2.boundingRect(mask)
    return mask[y : y + height, x : x + width]


@dataclass(frozen=True)
class _Look:
    """How one object is drawn; `shape` turns master coordinates into pixels of the image (2 x 2)."""

    master: Image
    shape: npt.NDArray[np.float64]


def _random_look(rng: np.random.Generator, glyph: str, size: int) -> _Look:
    font = _FONTS[int(rng.integers(len(_FONTS)))]
    master = _master_mask(glyph, font, int(rng.integers(len(_WEIGHTS))))
    scale = rng.uniform(*_SCALES) * size * _CAP_SHARE / _MASTER_CAP
    turn = math.radians(rng.uniform(-_MAX_TURN, _MAX_TURN))
    cos, sin = math.cos(turn), math.sin(turn)
    shear = rng.uniform(-_MAX_SHEAR, _MAX_SHEAR)
    shape = scale * np.array([[cos, -sin], [sin, cos]]) @ np.array([[1.0, shear], [0.0, 1.0]])
    return _Look(master, shape)


def _render(look: _Look, shrink: float) -> npt.NDArray[np.float32]:
    """Coverage mask of an object, cropped to it; h x w float32 in 0..1."""
    # Twice the wanted size, then averaged down: a direct warp to a third of the size would alias.
    shape = 2.0 * shrink * look.shape
    height, width = look.master.shape
    corners = shape @ np.array([[0, width, 0, width], [0, 0, height, height]], np.float64)
    low, high = corners.min(axis=1), corners.max(axis=1)
    out_width, out_height = (2 * math.ceil(side / 2) + 4 for side in (high - low).tolist())
    matrix = np.hstack([shape, (2.0 - low)[:, None]])
    large = cv2.warpAffine(look.master, matrix, (out_width, out_height), flags=cv2.INTER_LINEAR)
    small = cv2.resize(large, (out_width // 2, out_height // 2), interpolation=cv2.INTER_AREA)
    return _crop(small.astype(np.uint8)).astype(np.float32) / np.float32(255)


# ---------------------------------------------------------------------------------------------- scenes


def draw_scene(rng: np.random.Generator, glyphs: Sequence[str], size: int) -> tuple[Image, list[list[Polygon]]]:
    """Draw one image with one object for each entry of `glyphs`, a character of `GLYPHS` each.

    Returns the image (size x size x 3 uint8, BGR) and, for each object, the outlines of what is visible
    of it: one polygon for each separate part, at least one, holes ignored, coordinates in 0..size.
    """
    canvas, ends = _background(rng, size)
    boxes = np.zeros((0, 4))
    masks: list[npt.NDArray[np.float32]] = []
    for glyph in glyphs:
        mask, box = _place(rng, _random_look(rng, glyph, size), boxes, size)
        x, y, x_end, y_end = (int(edge) for edge in box)
        colour = _contrasting_colour(rng, ends)
        patch = canvas[y:y_end, x:x_end]
        patch += mask[..., None] * (colour - patch)
        for earlier, other in zip(boxes, masks, strict=True):
            _hide(other, earlier, mask, box)
        boxes = np.vstack([boxes, box])
        masks.append(mask)
    noisy = rng.standard_normal(canvas.shape, dtype=np.float32)
    noisy *= np.float32(rng.uniform(4, 14))
    noisy += canvas
    noisy += np.float32(0.5)  # the cast below cuts off
    image = np.clip(noisy, 0, 255, out=noisy).astype(np.uint8)
    outlines = [_outline(mask, float(box[0]), float(box[1])) for mask, box in zip(masks, boxes, strict=True)]
    return image, outlines


def _background(rng: np.random.Generator, size: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """A colour gradient with clutter on it (size x size x 3), and the two colours of the gradient (2 x 3)."""
    first = rng.uniform(20, 235, 3)
    ends = np.stack([first, np.clip(first + rng.uniform(-45, 45, 3), 0, 255)]).astype(np.float32)
    angle = rng.uniform(0, 2 * math.pi)
    ramp = np.linspace(-0.5, 0.5, size, dtype=np.float32)
    share = np.clip(0.5 + math.cos(angle) * ramp[None, :] + math.sin(angle) * ramp[:, None], 0, 1)
    canvas = ends[0] + share[..., None].astype(np.float32) * (ends[1] - ends[0])
    for _ in range(int(rng.integers(4, 9))):
        # Kept near the background's colour so that clutter distracts but is not taken for a glyph.
        colour = np.clip(ends[0] + rng.uniform(-50, 50, 3), 0, 255).tolist()
        (x0, y0), (x1, y1) = rng.integers(0, size, (2, 2)).tolist()
        width = int(rng.integers(1, 4))
        kind = int(rng.integers(4))
        if kind == 0:
            cv2.ellipse(canvas, (x0, y0), (size // 8 + x1 // 4, size // 8 + y1 // 4), 0, 0, 360, colour, width)
        elif kind == 1:
            cv2.rectangle(canvas, (x0, y0), (x1, y1), colour, width)
        elif kind == 2:
            cv2.circle(canvas, (x0, y0), 2 + x1 // 10, colour, -1)
        else:
            cv2.line(canvas, (x0, y0), (x1, y1), colour, width)
    return canvas, ends


def _contrasting_colour(rng: np.random.Generator, ends: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    trials = rng.uniform(0, 255, (16, 3)).astype(np.float32)
    distances = np.linalg.norm(trials[:, None] - ends[None], axis=2).min(axis=1)
    good = np.flatnonzero(distances >= _MIN_CONTRAST)
    picked: npt.NDArray[np.float32] = trials[good[0] if len(good) else distances.argmax()]
    return picked


def _place(
    rng: np.random.Generator, look: _Look, boxes: npt.NDArray[np.float64], size: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
    """Find a spot for an object beside the `boxes` (n x 4, x0 y0 x1 y1), made smaller where none is free.

    Returns its mask and its box. Only if even the smallest finds no free spot is the least covered taken.
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
    """For each trial (n x 4) the largest overlap with any of the boxes (m x 4), as share of the smaller."""
    low = np.maximum(trials[:, None, :2], boxes[None, :, :2])
    high = np.minimum(trials[:, None, 2:], boxes[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    areas = [(group[:, 2:] - group[:, :2]).prod(axis=1) for group in (trials, boxes)]
    shares = shared / np.minimum(areas[0][:, None], areas[1][None, :])
    worst: npt.NDArray[np.float64] = shares.max(axis=1, initial=0.0)
    return worst


def _hide(
    mask: npt.NDArray[np.float32],
    box: npt.NDArray[np.float64],
    upper_mask: npt.NDArray[np.float32],
    upper_box: npt.NDArray[np.float64],
) -> None:
    """Take from `mask`, in place, what an object drawn later covers, so that its outline stays true."""
    x0, y0 = np.maximum(box[:2], upper_box[:2]).astype(int).tolist()
    x1, y1 = np.minimum(box[2:], upper_box[2:]).astype(int).tolist()
    if x0 >= x1 or y0 >= y1:
        return
    (left, top), (upper_left, upper_top) = box[:2].astype(int).tolist(), upper_box[:2].astype(int).tolist()
    lower = mask[y0 - top : y1 - top, x0 - left : x1 - left]
    upper = upper_mask[y0 - upper_top : y1 - upper_top, x0 - upper_left : x1 - upper_left]
    np.minimum(lower, 1 - upper, out=lower)


def _outline(mask: npt.NDArray[np.float32], left: float, top: float) -> list[Polygon]:
    """Outer outlines of a coverage mask whose upper left corner is at (left, top)."""
    padded = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    height, width = padded.shape
    fine = cv2.resize(padded, (width * _OUTLINE_ZOOM, height * _OUTLINE_ZOOM), interpolation=cv2.INTER_LINEAR)
    found, _ = cv2.findContours((fine >= 0.5).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    bounds = np.array([[left, top], [left + mask.shape[1], top + mask.shape[0]]])
    parts: list[tuple[float, Polygon]] = []
    for contour in found:
        thinned = cv2.approxPolyDP(contour, _OUTLINE_SLACK * _OUTLINE_ZOOM, closed=True)[:, 0]
        # Contours join the middles of pixels: half a fine pixel back to edges, less the padding.
        points = (thinned + 0.5) / _OUTLINE_ZOOM - 1 + bounds[0]
        polygon = np.round(np.clip(points, *bounds), 2).ravel().tolist()
        if len(polygon) >= 6:
            parts.append((polygon_area(polygon), polygon))
    parts.sort(key=lambda part: -part[0])
    # The largest part stays whatever its size: every drawn object has an outline.
    return [polygon for index, (area, polygon) in enumerate(parts) if index == 0 or area >= _MIN_PART_AREA]


def polygon_area(polygon: Polygon) -> float:
    """Area in square pixels inside one polygon given as x0, y0, x1, y1, ..."""
    # Plain floats: for a few dozen points this is several times quicker than arrays.
    x, y = polygon[::2], polygon[1::2]
    return abs(sum(x[i - 1] * y[i] - x[i] * y[i - 1] for i in range(len(x)))) / 2
