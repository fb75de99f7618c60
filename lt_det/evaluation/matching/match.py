"""Match detections with ground truth, in one pass for every IoU threshold, area range and limit.

A detection takes the free object of its class that it overlaps most, in the order of scores. So a match never changes
when detections of lower score are dropped, and one pass over all of them serves each limit on their number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as mask_utils

from lt_det.evaluation._arrays import falling, grouped, positions, run_bounds
from lt_det.evaluation.matching.assignment import Bits, greedy
from lt_det.evaluation.matching.detections import Detections
from lt_det.evaluation.matching.ground_truth import GroundTruth
from lt_det.evaluation.matching.iou import box_iou, mask_iou, run_lengths
from lt_det.evaluation.progress import Track
from lt_det.evaluation.protocols import IOU_THRESHOLDS, Protocol, Task, out_of_range

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_AREAS_AT_ONCE = 255  # what pycocotools 2.0.11 takes under NumPy 2
_LEAST_IOU = IOU_THRESHOLDS[0]
POSSIBLE_PAIRS = 1 << 21  # matched together: some hundred megabytes


@dataclass(frozen=True, eq=False)
class Matches:
    """What became of N detections, sorted by image, and inside an image by class and falling score.

    Detections of classes of which LVIS says nothing in their image are left out.

    Attributes:
        images, classes: (N,) int32 indices.
        scores: (N,)
        rank_in_image: (N,) int32 place among all detections of the image, 0 for the highest score.
        rank_in_class: (N,) int32 place among those of its class in the image.
        wrong_if_unmatched: (N, A) whether it is a mistake, where it matches nothing.
        touching: (M,) int64 positions among the N of those that overlap any object enough.
        matched: (M,) at which thresholds and areas it matches an object, one bit each (see `greedy.hits`).
        neutral: (M,) at which of them the object does not count.
        objects: (M,) int32 the object that it matches at IoU 0.5, of any area, as its index in the ground truth that
            the protocol judges on (`judged_truth`); -1: none.
    """

    images: NDArray[np.int32]
    classes: NDArray[np.int32]
    scores: NDArray[np.float64]
    rank_in_image: NDArray[np.int32]
    rank_in_class: NDArray[np.int32]
    wrong_if_unmatched: Bools
    touching: Ints
    matched: Bits
    neutral: Bits
    objects: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.scores)

    def select(self, kept: Bools) -> Matches:
        """Those of a (N,) mask."""
        if kept.all():
            return self
        place = np.cumsum(kept) - 1
        still = kept[self.touching]
        return Matches(
            self.images[kept],
            self.classes[kept],
            self.scores[kept],
            self.rank_in_image[kept],
            self.rank_in_class[kept],
            self.wrong_if_unmatched[kept],
            place[self.touching[still]],
            self.matched[still],
            self.neutral[still],
            self.objects[still],
        )

    @classmethod
    def concatenate(cls, parts: Sequence[Matches]) -> Matches:
        """Join the matches of different images, in the order of the images."""
        offsets = np.cumsum([0, *(len(part) for part in parts)])
        joined = {
            field.name: np.concatenate([getattr(part, field.name) for part in parts])
            for field in fields(cls)
            if field.name != "touching"
        }
        touching = np.concatenate([part.touching + offset for part, offset in zip(parts, offsets, strict=False)])
        images = joined["images"]
        if (images[1:] >= images[:-1]).all():
            return cls(touching=touching, **joined)
        order = np.argsort(images, kind="stable")
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        touching = place[touching]
        again = np.argsort(touching)
        of_touching = {name: joined.pop(name)[again] for name in ("matched", "neutral", "objects")}
        return cls(**{name: values[order] for name, values in joined.items()}, touching=touching[again], **of_touching)


def match(
    truth: GroundTruth,
    detections: Detections,
    task: Task,
    protocol: Protocol,
    possible_pairs: int = POSSIBLE_PAIRS,
    track: Track = iter,
) -> Matches:
    """
    Args:
        truth: of all images.
        detections: of any images; of each image all of them, and all of the set under a limit per class.
        task: overlap of boxes or of masks.
        protocol: whether it is federated, and its limit per class; the matches serve all that agree in both.
        possible_pairs, track: see `by_images`.
    """
    truth = judged_truth(truth, protocol)
    parts = by_images(truth, detections, protocol, possible_pairs, track)
    return Matches.concatenate([match_chunk(truth, part, task, protocol)[0] for part in parts])


def judged_truth(truth: GroundTruth, protocol: Protocol) -> GroundTruth:
    """The objects that a protocol knows."""
    return truth.with_area if protocol.federated else truth


def by_images(
    truth: GroundTruth,
    detections: Detections,
    protocol: Protocol,
    possible_pairs: int = POSSIBLE_PAIRS,
    track: Track = iter,
) -> Iterator[Detections]:
    """The detections of some images after the other, sorted by image; at least one part, if an empty one.

    Args:
        truth, detections: of all images.
        protocol: its limit per class is applied: what lies beyond it need not be matched.
        possible_pairs: of a detection and an object in a part, if it has more than one image. A detection costs about
            as much as ten pairs.
        track: wraps the loop, to show its progress.
    """
    num_images = len(truth.image_ids)
    order = grouped(within_set_limit(detections, protocol), detections.images, num_images)
    count = np.bincount(detections.images[order], minlength=num_images)
    cost = np.cumsum(count * (np.diff(truth.start) + 10))
    last = np.flatnonzero(np.diff(cost // possible_pairs))
    bounds = np.concatenate([[0], np.cumsum(count)[last], [len(order)]])
    if not len(order):
        yield detections
    for i in track(range(len(bounds) - 1)):
        if bounds[i + 1] > bounds[i]:
            yield detections.select(order[bounds[i] : bounds[i + 1]])


def within_set_limit(detections: Detections, protocol: Protocol) -> Ints:
    """The detections that the limit per class leaves, in their order; of ties at the limit the first."""
    num_classes = int(detections.classes.max(initial=-1)) + 1
    count = np.bincount(detections.classes, minlength=num_classes)
    everything = np.arange(len(detections))
    if protocol.per_class is None or (count <= protocol.per_class).all():
        return everything
    order = grouped(falling(detections.scores), detections.classes, num_classes)
    rank = everything - np.repeat(np.cumsum(count) - count, count)
    return np.sort(order[rank < protocol.per_class])


def match_chunk(truth: GroundTruth, detections: Detections, task: Task, protocol: Protocol) -> tuple[Matches, Ints]:
    """As `match`, for the judged truth and detections sorted by image; also which detection each of the N is."""
    images, classes, scores = detections.images, detections.classes, detections.scores
    first, last = (int(images[0]), int(images[-1]) + 1) if len(images) else (0, 0)
    objects = slice(truth.start[first], truth.start[last])
    of_object = np.repeat(np.arange(first, last), np.diff(truth.start[first : last + 1]))
    cell = (images - first) * truth.num_classes + classes
    object_cell = (of_object - first) * truth.num_classes + truth.classes[objects]

    no_mistake = np.zeros(len(detections), dtype=np.bool_)
    kept = ~no_mistake
    if protocol.federated:
        known = np.zeros((last - first) * truth.num_classes, dtype=np.bool_)
        known[object_cell] = True
        known[_cells(truth.negative, first, last, truth.num_classes)] = True
        incomplete = np.zeros_like(known)
        incomplete[_cells(truth.not_exhaustive, first, last, truth.num_classes)] = True
        no_mistake, kept = incomplete[cell], known[cell]

    by_score = falling(scores)
    by_image = grouped(by_score, images - first, last - first)
    rank_in_image = np.empty(len(images), dtype=np.int32)
    rank_in_image[by_image] = positions(images[by_image])
    # By image, class and falling score. The other ones are never looked at again.
    order = grouped(by_score[kept[by_score]], classes, truth.num_classes)
    order = grouped(order, images - first, last - first)
    detections, cell, no_mistake = detections.select(order), cell[order], no_mistake[order]
    areas = _areas(detections, task)
    if protocol.federated:  # lvis leaves those without an area out, after its limit per image
        no_mistake |= ~((areas > 0) & (areas < np.inf))
    objects_order = objects.start + np.argsort(object_cell, kind="stable")
    object_cell = np.sort(object_cell, kind="stable")

    pairs = _pairs(truth, detections, task, protocol.federated, cell, object_cell, objects_order)
    touching, matched, neutral, found = greedy(truth, protocol.federated, objects, *pairs)
    matches = Matches(
        detections.images.astype(np.int32),
        detections.classes.astype(np.int32),
        detections.scores,
        rank_in_image[order],
        positions(cell).astype(np.int32),
        ~(out_of_range(areas) | no_mistake[:, None]),
        touching,
        matched,
        neutral,
        found,
    )
    return matches, order


def _pairs(
    truth: GroundTruth,
    detections: Detections,
    task: Task,
    federated: bool,
    cell: Ints,
    object_cell: Ints,
    objects_order: Ints,
) -> tuple[Ints, Ints, NDArray[np.float64], Ints]:
    """The pairs of one cell that overlap enough: detection, object, IoU, and place of the detection in its cell."""
    low = np.searchsorted(object_cell, cell, side="left")
    count = np.searchsorted(object_cell, cell, side="right") - low
    detection = np.repeat(np.arange(len(cell)), count)
    within = np.arange(len(detection)) - np.repeat(np.cumsum(count) - count, count)
    target = objects_order[np.repeat(low, count) + within]
    crowd = np.zeros(len(target), dtype=np.bool_) if federated else truth.crowd[target]
    if task == "bbox":
        iou = box_iou(detections.boxes[detection], truth.boxes[target], crowd)
    else:
        iou = _mask_ious(truth, detections, detection, target, crowd, cell)
    enough = iou >= _LEAST_IOU
    return detection[enough], target[enough], iou[enough], cell[detection[enough]]


def _mask_ious(
    truth: GroundTruth, detections: Detections, detection: Ints, target: Ints, crowd: Bools, cell: Ints
) -> NDArray[np.float64]:
    """IoU of each pair, cell by cell: the pairs of a cell are all its detections with all its objects."""
    assert detections.masks is not None
    result = np.empty(len(detection))
    of_pair = cell[detection]
    for start, stop in run_bounds(of_pair):
        num_objects = np.count_nonzero(detection[start:stop] == detection[start])
        found, objects = detection[start:stop:num_objects], target[start : start + num_objects]
        height, width = truth.sizes[detections.images[found[0]]]
        true = [run_lengths(truth.outlines[g], int(height), int(width)) for g in objects]
        masks = [detections.masks[d] for d in found]
        result[start:stop] = mask_iou(masks, true, crowd[start : start + num_objects]).ravel()
    return result


def _cells(lists: Any, first: int, last: int, num_classes: int) -> Ints:
    """The cells, image by class, that the lists of images first .. last - 1 name."""
    counts = np.diff(lists.start[first : last + 1])
    values = lists.values[lists.start[first] : lists.start[last]]
    return np.repeat(np.arange(last - first), counts) * num_classes + values


def _areas(detections: Detections, task: Task) -> NDArray[np.float64]:
    if task == "segm":
        assert detections.masks is not None
        masks = list(detections.masks)
        parts = [mask_utils.area(masks[i : i + _AREAS_AT_ONCE]) for i in range(0, len(masks), _AREAS_AT_ONCE)]
        return np.concatenate([np.zeros(0), *parts])
    return detections.boxes[:, 2] * detections.boxes[:, 3]
