"""The detections by which hints are given: the highest-scoring ones of some images, with the objects near them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from lt_det.evaluation._arrays import Bools, Floats, Ints, index_ranges, rank_in_group
from lt_det.evaluation.matching.detections import Detections
from lt_det.evaluation.matching.ground_truth import GroundTruth
from lt_det.evaluation.matching.iou import box_iou

_MAX_PAIRS = 100_000  # of a detection and an object
_MIN_IOU = 0.5
_MIN_NUMBER = 3  # of detections
_MIN_FRACTION = 0.1  # of the sample
_DEVIATIONS = 3.0  # by which counts must differ, see `is_better`


@dataclass(frozen=True, eq=False)
class Sample:
    """S detections, in each image as many as it has objects, and the P pairs of each with every object of its image.

    Attributes:
        detections: (S,) indices of the detections.
        boxes: (S, 4) as they are written.
        sizes: (S, 2) height and width of their images; 0 if they are not known.
        pair: (P,) indices among the S.
        target: (P,) object of each pair.
        truth: the objects.
    """

    detections: Ints
    boxes: Floats
    sizes: Ints
    pair: Ints
    target: Ints
    truth: GroundTruth

    @classmethod
    def of(cls, detections: Detections, boxes: Floats, truth: GroundTruth) -> Sample:
        """
        Args:
            detections: N detections.
            boxes: (N, 4) their boxes as they are written.
            truth: crowd regions are no objects here.
        """
        count = _objects_per_image(truth)
        order = np.lexsort((-detections.scores, detections.images))
        images = detections.images[order]
        kept = order[rank_in_group(images) < count[images]]
        images = detections.images[kept]
        # Images in an order without a pattern, as many as there is room for.
        shuffled = np.random.default_rng(0).permutation(len(count))
        pairs = np.bincount(images, minlength=len(count)) * count
        chosen = np.zeros(len(count), dtype=np.bool_)
        chosen[shuffled] = np.cumsum(pairs[shuffled]) <= _MAX_PAIRS
        kept = kept[chosen[images]]
        pair, target = _pairs(detections.images[kept], truth)
        return cls(kept, boxes[kept], truth.sizes[detections.images[kept]], pair, target, truth)

    def in_images(self, images: Ints) -> Sample:
        """The same detections with the objects of other images.

        Args:
            images: (S,) index of an image for each detection; -1 for none.
        """
        pair, target = _pairs(images, self.truth)
        return dataclasses.replace(self, sizes=self.truth.sizes[images], pair=pair, target=target)

    def __len__(self) -> int:
        return len(self.detections)

    def overlaps(self, boxes: Floats) -> Bools:
        """(P,) whether boxes (S, 4), as x, y, width, height, overlap the object of their pair enough."""
        no_crowd = np.zeros(len(self.pair), dtype=np.bool_)
        iou: Floats = box_iou(boxes[self.pair], self.truth.boxes[self.target], no_crowd)
        return iou >= _MIN_IOU

    def count(self, pairs: Bools) -> int:
        """How many detections are in any of the pairs of a (P,) mask."""
        return len(np.unique(self.pair[pairs]))


def _objects_per_image(truth: GroundTruth) -> Ints:
    """(I,) without crowd regions."""
    before = np.concatenate([[0], np.cumsum(~truth.crowd)])
    number: Ints = np.diff(before[truth.start])
    return number


def _pairs(images: Ints, truth: GroundTruth) -> tuple[Ints, Ints]:
    """Index of the detection and of the object of each pair in the same image.

    Args:
        images: (S,) of the detections; -1 for none.
        truth: crowd regions are no objects here.
    """
    objects, count = np.flatnonzero(~truth.crowd), np.append(_objects_per_image(truth), 0)
    start = np.cumsum(count) - count
    pair = np.repeat(np.arange(len(images)), count[images])
    return pair, objects[index_ranges(start[images], count[images])]


def is_better(number: int, as_written: int, total: int) -> bool:
    """Whether so many of `total` detections fit another reading that it is no coincidence.

    Args:
        number: detections that fit the other reading.
        as_written: those that fit as they are written.
        total: size of the sample.
    """
    if number < max(_MIN_NUMBER, _MIN_FRACTION * total) or number < 2 * as_written:
        return False
    if not as_written and number >= total / 2:
        return True
    return bool(number - as_written >= _DEVIATIONS * np.sqrt(number + as_written))
