"""Boxes at other places than the objects: mirrored, moved by the same amount in all images, or anywhere."""

from __future__ import annotations

import numpy as np

from lt_det.evaluation._arrays import Floats, Ints
from lt_det.evaluation.hints.sample import Sample, is_better

_MIN_FRACTION = 0.25  # of the sample that must fit: of all offsets, one fits some of the boxes by chance
_BIN = 8.0  # pixels, when offsets are counted
_UNLIKE = 0.2  # largest difference between the sizes of a pair, as a logarithm
_MIN_NUMBER = 30  # boxes: of fewer, a bad detector may have none near an object
_MOST_BY_CHANCE = 0.3  # of the sample: more is by chance only where objects lie in the same place in all images
_OTHER_IMAGES = (1, 2, 3)  # how much further in their order
_MORE_THAN_BY_CHANCE = 0.15  # of the sample: after a permutation, some images still have their own boxes


def displaced_hint(sample: Sample, boxes: Floats, as_written: int, otherwise: int) -> str | None:
    """A sentence if boxes fit the objects once they are mirrored, or moved by the same amount in all images.

    Args:
        sample: of the detections.
        boxes: (S, 4) as x, y, width, height.
        as_written: how many of them overlap an object.
        otherwise: how many do in the best other convention.
    """
    otherwise = max(as_written, otherwise)
    if otherwise > len(sample) / 2:
        return None
    readings: dict[str, Floats] = {}
    offset = _offset(sample, boxes)
    if offset is not None:
        x, y = -offset
        words = f"if moved by {x:.0f} pixels in x and {y:.0f} in y; subtract the border of the input image"
        readings[words] = boxes - np.append(offset, [0.0, 0.0])
    if (sample.sizes > 0).all():
        mirrored = sample.sizes[:, ::-1] - boxes[:, :2] - boxes[:, 2:]
        turned = {
            "y from the bottom of the image": [1],
            "x from its right side": [0],
            "both from the lower right": [0, 1],
        }
        for words, axes in turned.items():
            words = f"with {words} (mirrored boxes); write x from the left and y from the top, as in the image file"
            readings[words] = boxes.copy()
            readings[words][:, axes] = mirrored[:, axes]
    counts = {words: sample.count(sample.overlaps(moved)) for words, moved in readings.items()}
    words = max(counts, key=lambda words: counts[words], default="")
    best = counts.get(words, 0)
    if best < _MIN_FRACTION * len(sample) or not is_better(best, otherwise, len(sample)):
        return None
    return (
        f"Of the {len(sample)} highest-scoring boxes, {as_written} overlap an object (IoU 0.5 or more), but {best} "
        f"would {words}."
    )


def nowhere_hint(sample: Sample, boxes: Floats, images: Ints, as_written: int) -> str | None:
    """A sentence if boxes overlap hardly more objects than they do in other images.

    Args:
        sample, boxes, as_written: see `displaced_hint`.
        images: (S,) of the boxes.
    """
    distinct, index = np.unique(images, return_inverse=True)
    if len(sample) < _MIN_NUMBER or len(distinct) < 2 or as_written > _MOST_BY_CHANCE * len(sample):
        return None
    others = [sample.in_images(distinct[(index + further) % len(distinct)]) for further in _OTHER_IMAGES]
    by_chance = float(np.mean([other.count(other.overlaps(boxes)) for other in others]))
    if as_written - by_chance > _MORE_THAN_BY_CHANCE * len(sample):
        return None
    return (
        f"Only {as_written} of the {len(sample)} highest-scoring boxes overlap an object of any class (IoU 0.5 or "
        f"more), and about {by_chance:.0f} do in other images: either the detector is weak or hardly trained, or the "
        "boxes belong to other images or follow a convention that lt_det does not know; draw some on their images."
    )


def _offset(sample: Sample, boxes: Floats) -> Floats | None:
    """x and y by which boxes most often lie beside objects of their size; None if none has one."""
    found, objects = boxes[sample.pair], sample.truth.boxes[sample.target]
    with np.errstate(divide="ignore", invalid="ignore"):
        alike = (np.abs(np.log(found[:, 2:] / objects[:, 2:])) < _UNLIKE).all(axis=1)
    offsets = (found[:, :2] + found[:, 2:] / 2 - objects[:, :2] - objects[:, 2:] / 2)[alike]
    if not len(offsets):
        return None
    bins, counts = np.unique(np.round(offsets / _BIN), axis=0, return_counts=True)
    near = (np.abs(offsets - bins[np.argmax(counts)] * _BIN) <= 1.5 * _BIN).all(axis=1)
    median: Floats = np.median(offsets[near], axis=0)
    return median
