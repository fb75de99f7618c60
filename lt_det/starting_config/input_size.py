"""Input sizes from the sizes of images and objects.

The size of an object is the square root of its box's area, in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lt_det.starting_config.survey import Survey

TINY = 8  # pixels: detectors with strides of 4 or 8 rarely find smaller objects

_STEP = 32  # of input sizes
_MOST_SMALL = 0.1  # fraction of the objects that may be smaller than wanted
_ASPECTS = (4 / 3, 2.0)  # of the largest input; longer images are shrunk further


@dataclass(frozen=True, eq=False)
class InputSize:
    """
    Attributes:
        train: shorter edges, one of which is drawn for each training image.
        test: shorter edge in evaluation.
        longest: the longer edge is at most this.
        boxes: (A, 2) width and height of the objects in evaluation.
        own: median of the shorter edges of the images.
    """

    train: list[int]
    test: int
    longest: int
    boxes: NDArray[np.float64]
    own: int

    @property
    def sizes(self) -> NDArray[np.float64]:
        """(A,) sizes of the objects in evaluation."""
        return np.sqrt(self.boxes.prod(axis=1))

    @property
    def tiny(self) -> float:
        """Fraction of the objects below `TINY` pixels."""
        return float((self.sizes < TINY).mean()) if len(self.boxes) else 0.0


def choose_input_size(survey: Survey, usual: int, largest: int, wanted: float, train: Sequence[int]) -> InputSize:
    """The smallest shorter edge from `usual` to `largest` at which nine of ten objects have the wanted size.

    Images are not enlarged unless too many objects are smaller even so, and then to twice their size at most.

    Args:
        survey: of the training set, with one object or more.
        usual, largest: shorter edges that suit the detector.
        wanted: size of an object that the detector finds well.
        train: shorter edges that the detector is trained with, where it is evaluated with the usual one.
    """
    short, long = survey.image_sizes.min(axis=1), survey.image_sizes.max(axis=1)
    own = int(np.median(short))
    aspect = float(np.clip(np.quantile(long / short, 0.99), *_ASPECTS))
    candidates = [*range(usual, largest, _STEP), largest]
    edges = [edge for edge in candidates if edge < own] + [own] * (own <= largest)
    edges += [edge for edge in candidates if own < edge < 2 * own] + [2 * own] * (2 * own <= largest)
    for edge in edges:
        longest = math.ceil(edge * aspect / _STEP) * _STEP
        boxes = _resized(survey, edge, longest)
        if (np.sqrt(boxes.prod(axis=1)) < wanted).mean() <= _MOST_SMALL:
            break
    sizes = sorted({_multiple_of_8(size * edge / usual) for size in train})
    if len(sizes) == 1:
        sizes = [edge]
    longest = math.ceil(max(*sizes, edge) * aspect / _STEP) * _STEP
    return InputSize(sizes, edge, longest, _resized(survey, edge, longest), own)


def _multiple_of_8(size: float) -> int:
    return max(8, round(size / 8) * 8)


def _resized(survey: Survey, edge: int, longest: int) -> NDArray[np.float64]:
    """Width and height of each object where Detectron2 has resized its image."""
    short, long = survey.image_sizes.min(axis=1), survey.image_sizes.max(axis=1)
    scale = np.minimum(edge / short, longest / long)
    return survey.box_sizes * scale[survey.image_of_box, None]
