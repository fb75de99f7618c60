"""How the glyphs of `dejavu.txt` were chosen, to look different at the size and in the ways in which they are drawn.

    python -m lt_det.datasets.mini_lvis.glyph_selection > lt_det/datasets/mini_lvis/dejavu.txt

Two glyphs are compared as small binary images with the same center of mass and the same mean square radius. With d_A(p)
the distance of a point p from the glyph A, in pixels,

    D(A -> B) = min over variants A' of A of sqrt(sum of d_A'(p)^2 over p in B + sum of d_B(p)^2 over p in A'),
    D(A, B) = min(D(A -> B), D(B -> A)).

The variants are all weights, and turns and shears by as much as a scene can give one glyph against another. The other
glyph is upright and in the middle weight, so that the two directions can differ by more than two pixels. Latin A, Greek
Alpha and Cyrillic A have a distance near 0, while a stroke or a dot that one glyph has and the other lacks counts by
its size and by how far it lies from the other glyph. The first glyph is A; each next one is the candidate whose nearest
chosen glyph is farthest away, so any first K are as distinct as a greedy choice can make them.
"""

import math
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from lt_det.datasets.mini_lvis.dejavu import WEIGHTS, dejavu_mask
from lt_det.datasets.mini_lvis.scenes import MAX_SHEAR, MAX_TURN
from lt_det.errors import LtDetError

__all__ = ["Fingerprints", "candidates", "choose_glyphs", "fingerprints", "one_way_distances"]

Floats = npt.NDArray[np.float32]

NUM_GLYPHS = 1203  # as many as LVIS v1 has classes
CLOSEST = 7.6  # smallest distance D between two glyphs; 1203 glyphs are just so far apart
# A glyph of this mean square radius is about 18 pixels high: smaller than the smallest in an image of 144 pixels (25).
_SIDE, _RADIUS = 24, 6.0
_TURNS = np.linspace(-2 * MAX_TURN, 2 * MAX_TURN, 9)
_SHEARS = np.linspace(-2 * MAX_SHEAR, 2 * MAX_SHEAR, 5)
_INSIDE = 0.4  # coverage from which a pixel belongs to the glyph
_FARTHEST = 8.0  # distances are clipped here, in pixels, so that one far detail does not outweigh everything else
_MIN_ASPECT = 0.35  # narrower glyphs are bars to a detector
_STROKE, _MAX_THIN = 4, 0.2  # of a glyph's area, at most this fraction may be in strokes narrower than this many pixels
# Patterns of dots and lines that differ by their number or place only; controls and private letters have no name.
_PATTERNS = ("BRAILLE", "BOX", "DIGRAM", "DOMINO", "HEXAGRAM", "OGHAM", "PLAYING", "TETRAGRAM", "TRIGRAM")


@dataclass(frozen=True)
class Fingerprints:
    """Glyphs, or variants of one glyph, as small images: which pixels are inside, and d^2 of every pixel.

    Attributes:
        inside: (n, pixels) float32, 0 or 1.
        far: (n, pixels) float32, the square of each pixel's distance from the glyph in pixels.
    """

    inside: Floats
    far: Floats

    def take(self, indices: Sequence[int] | npt.NDArray[np.int64]) -> "Fingerprints":
        """The glyphs with these indices."""
        return Fingerprints(self.inside[indices], self.far[indices])


def candidates() -> list[str]:
    """Letters, numbers, punctuation and symbols of the font that are neither bars nor hairlines nor patterns."""
    from matplotlib import get_data_path
    from matplotlib.ft2font import FT2Font

    font = FT2Font(str(Path(get_data_path()) / "fonts/ttf/DejaVuSans.ttf"))
    found = []
    for code in sorted(font.get_charmap()):
        character = chr(code)
        name = unicodedata.name(character, "")
        if not name or unicodedata.category(character)[0] not in "LNPS" or name.startswith(_PATTERNS):
            continue
        drawn = font.load_char(code)
        if min(drawn.width, drawn.height) > 0 and _is_clear(dejavu_mask(character, 0)):
            found.append(character)
    return found


def _is_clear(mask: npt.NDArray[np.uint8]) -> bool:
    if min(mask.shape) < _MIN_ASPECT * max(mask.shape):
        return False
    inside = (mask > 127).astype(np.uint8)
    wide = cv2.morphologyEx(inside, cv2.MORPH_OPEN, np.ones((_STROKE, _STROKE), np.uint8))
    return bool(wide.sum() >= (1 - _MAX_THIN) * inside.sum())


def fingerprints(glyphs: Sequence[str]) -> Fingerprints:
    """The glyphs upright and in the middle weight."""
    return _fingerprints([_small(dejavu_mask(glyph, 1), np.eye(2)) for glyph in glyphs])


@lru_cache(maxsize=1000)  # 0.6 MB each
def _variants(glyph: str) -> Fingerprints:
    """The glyph in all weights, turns and shears."""
    masks = [dejavu_mask(glyph, weight) for weight in range(len(WEIGHTS))]
    return _fingerprints([_small(mask, shape) for mask in masks for shape in _relative_shapes()])


def _fingerprints(images: Sequence[Floats]) -> Fingerprints:
    inside = np.stack([image >= _INSIDE for image in images]).astype(np.uint8)
    far = np.stack([cv2.distanceTransform(1 - image, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) for image in inside])
    pixels = (len(images), -1)
    return Fingerprints(
        inside.reshape(pixels).astype(np.float32), np.minimum(far, _FARTHEST).reshape(pixels).astype(np.float32) ** 2
    )


def one_way_distances(glyph: str, upright: Fingerprints) -> Floats:
    """(n,) distance D(A -> B) of the glyph A from each B of the upright ones, in pixels of the small images."""
    variants = _variants(glyph)
    squares = variants.inside @ upright.far.T + variants.far @ upright.inside.T
    nearest: Floats = np.sqrt(squares.min(axis=0))
    return nearest


def _relative_shapes() -> Iterator[npt.NDArray[np.float64]]:
    for turn in np.deg2rad(_TURNS):
        for shear in _SHEARS:
            cos, sin = np.cos(turn), np.sin(turn)
            yield np.array([[cos, -sin], [sin, cos]]) @ np.array([[1.0, shear], [0.0, 1.0]])


def _small(mask: npt.NDArray[np.uint8], shape: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """(side, side) coverage of the transformed mask, its center of mass in the middle, its radius `_RADIUS`."""
    moments = cv2.moments(mask)
    spread = np.array([[moments["mu20"], moments["mu11"]], [moments["mu11"], moments["mu02"]]]) / moments["m00"]
    shape = shape * (_RADIUS / np.sqrt(np.trace(shape @ spread @ shape.T)))
    center = np.array([moments["m10"], moments["m01"]]) / moments["m00"]
    # Blurred to the small image's resolution first, against aliasing.
    margin = 8
    smooth = cv2.copyMakeBorder(mask, margin, margin, margin, margin, cv2.BORDER_CONSTANT, value=0)
    smooth = cv2.GaussianBlur(smooth, (0, 0), 0.4 / np.sqrt(np.linalg.det(shape)))
    matrix = np.hstack([shape, ((_SIDE - 1) / 2 - shape @ (center + margin))[:, None]])
    return cv2.warpAffine(smooth, matrix, (_SIDE, _SIDE)).astype(np.float32) / np.float32(255)


def choose_glyphs(glyphs: Sequence[str], number: int, closest: float = CLOSEST) -> tuple[list[str], list[float]]:
    """The most distinct glyphs in order, and the distance D of each from its nearest predecessor.

    Args:
        glyphs: candidates, A among them.
        number: how many to choose; fewer if no more are at least `closest` apart.
        closest: smallest distance D between two chosen glyphs.
    """
    ordered = ["A", *(glyph for glyph in glyphs if glyph != "A")]
    upright = fingerprints(ordered)
    nearest = np.full(len(ordered), np.inf, np.float32)
    compared = np.zeros(len(ordered), np.int64)  # with how many of the chosen glyphs each was compared in its variants
    chosen, reached, left = [0], [math.inf], np.arange(1, len(ordered))
    while len(chosen) < number and len(left):
        # The variants of the last chosen glyph against the others. Their own variants can only make D smaller, so they
        # are computed only where D is largest without them.
        nearest[left] = np.minimum(nearest[left], one_way_distances(ordered[chosen[-1]], upright.take(left)))
        while compared[best := int(left[nearest[left].argmax()])] < len(chosen):
            reverse = one_way_distances(ordered[best], upright.take(chosen[compared[best] :]))
            nearest[best] = min(nearest[best], reverse.min())
            compared[best] = len(chosen)
        if nearest[best] < closest:
            break
        chosen.append(best)
        reached.append(float(nearest[best]))
        # Those too close to a chosen glyph can never be chosen.
        left = left[(nearest[left] >= closest) & (left != best)]
    return [ordered[index] for index in chosen], reached


def main() -> None:
    glyphs, reached = choose_glyphs(candidates(), NUM_GLYPHS)
    if len(glyphs) < NUM_GLYPHS:
        raise LtDetError(f"Only {len(glyphs)} of {NUM_GLYPHS} glyphs are {CLOSEST} apart; lower CLOSEST.")
    print("# Code points of DejaVu Sans, the most distinct first; written by glyph_selection.py, which explains D.")
    closest = ", ".join(f"{min(reached[:size]):.2f} among the first {size}" for size in (100, 300, 1000, NUM_GLYPHS))
    print(f"# D of the closest pair: {closest}.")
    for start in range(0, NUM_GLYPHS, 20):
        print(" ".join(f"{ord(glyph):04x}" for glyph in glyphs[start : start + 20]))


if __name__ == "__main__":
    main()
