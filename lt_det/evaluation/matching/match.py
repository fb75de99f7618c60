"""Match detections with objects, in one pass for every IoU threshold, area range and limit.

By descending score, a detection takes the free object of its class that it overlaps most. Dropping detections of lower
scores therefore never changes a match, and one pass over all detections serves every limit on their number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as mask_utils

from lt_det.evaluation._arrays import (
    Bools,
    Floats,
    Ints,
    descending_order,
    group_bounds,
    index_ranges,
    rank_in_group,
    stable_by_key,
)
from lt_det.evaluation.context import EvaluationContext
from lt_det.evaluation.matching.assignment import Bits, Pairs, greedy_assignment
from lt_det.evaluation.matching.detections import Detections
from lt_det.evaluation.matching.ground_truth import ClassLists, GroundTruth
from lt_det.evaluation.matching.iou import box_iou, mask_iou, to_rle
from lt_det.evaluation.progress import Track
from lt_det.evaluation.protocols import IOU_THRESHOLDS, Protocol, Task, out_of_range

_MAX_AREAS = 255  # masks per call of `mask_utils.area`: the limit of pycocotools 2.0.11 under NumPy 2
_LOWEST_IOU = IOU_THRESHOLDS[0]
_CLASSES_PER_PAIR = 32  # one pair takes about as much memory as a table of so many classes
POSSIBLE_PAIRS = 1 << 21  # pairs of a detection and an object matched at once: some hundred megabytes


@dataclass(frozen=True, eq=False)
class Matches:
    """Matches of N detections, sorted by image, and within an image by class and descending score.

    Detections of classes about which an LVIS annotation says nothing in their image are left out.

    Attributes:
        images, classes: (N,) int32 indices.
        scores: (N,)
        rank_in_image: (N,) int32 rank by score among all detections of the image; 0 is the highest score.
        rank_in_class: (N,) int32 rank by score among those of its class in the image.
        fp_if_unmatched: (N, A) whether the detection is a false positive if it matches nothing.
        overlapping: (M,) int64 indices of the detections with an IoU of 0.5 or more with any object of their class.
        matched: (M,) bits of the thresholds and areas at which each of them matches an object, see `matched_at`.
        ignored: (M,) bits of those at which that object does not count.
        objects: (M,) int32 the object matched at IoU 0.5 and any area, as its index in the objects that the protocol
            knows (`EvaluationContext.objects`); -1 for none.
    """

    images: NDArray[np.int32]
    classes: NDArray[np.int32]
    scores: Floats
    rank_in_image: NDArray[np.int32]
    rank_in_class: NDArray[np.int32]
    fp_if_unmatched: Bools
    overlapping: Ints
    matched: Bits
    ignored: Bits
    objects: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.scores)

    def select(self, kept: Bools) -> Matches:
        """The detections of a (N,) mask."""
        if kept.all():
            return self
        new_index = np.cumsum(kept) - 1
        kept_overlapping = kept[self.overlapping]
        return Matches(
            self.images[kept],
            self.classes[kept],
            self.scores[kept],
            self.rank_in_image[kept],
            self.rank_in_class[kept],
            self.fp_if_unmatched[kept],
            new_index[self.overlapping[kept_overlapping]],
            self.matched[kept_overlapping],
            self.ignored[kept_overlapping],
            self.objects[kept_overlapping],
        )

    @classmethod
    def concatenate(cls, parts: Sequence[Matches]) -> Matches:
        """Join the matches of different images, sorted by image."""
        offsets = np.cumsum([0, *(len(part) for part in parts)])
        joined = {
            field.name: np.concatenate([getattr(part, field.name) for part in parts])
            for field in fields(cls)
            if field.name != "overlapping"
        }
        overlapping = np.concatenate([part.overlapping + offset for part, offset in zip(parts, offsets, strict=False)])
        images = joined["images"]
        if (images[1:] >= images[:-1]).all():
            return cls(overlapping=overlapping, **joined)
        order = np.argsort(images, kind="stable")
        new_index = np.empty_like(order)
        new_index[order] = np.arange(len(order))
        overlapping = new_index[overlapping]
        overlapping_order = np.argsort(overlapping)
        per_overlapping = {name: joined.pop(name)[overlapping_order] for name in ("matched", "ignored", "objects")}
        per_detection = {name: values[order] for name, values in joined.items()}
        return cls(overlapping=overlapping[overlapping_order], **per_detection, **per_overlapping)


def match(
    context: EvaluationContext,
    detections: Detections,
    task: Task,
    possible_pairs: int = POSSIBLE_PAIRS,
    track: Track = iter,
) -> Matches:
    """
    Args:
        context: its protocol decides which classes of an image are evaluated, and limits the detections per class; the
            matches serve all protocols that agree in both.
        detections: all detections of some images; of all images if the protocol has a limit per class.
        task: overlap of boxes or of masks.
        possible_pairs, track: see `by_images`.
    """
    parts = by_images(context, detections, possible_pairs, track)
    return Matches.concatenate([match_chunk(context, part, task)[0] for part in parts])


def by_images(
    context: EvaluationContext,
    detections: Detections,
    possible_pairs: int = POSSIBLE_PAIRS,
    track: Track = iter,
) -> Iterator[Detections]:
    """Yield the detections of a few images at a time, sorted by image; at least one part, which may be empty.

    Args:
        context: the protocol's limit per class is applied: what exceeds it need not be matched.
        detections: in any order.
        possible_pairs: limit on the pairs of a detection and an object in a part with more than one image. A
            detection costs about as much as ten pairs, and an image one pair for `_CLASSES_PER_PAIR` classes.
        track: wraps the loop, to show its progress.
    """
    num_images = context.num_images
    order = stable_by_key(_within_class_limit(detections, context.protocol), detections.images, num_images)
    count = np.bincount(detections.images[order], minlength=num_images)
    # The table of a part's images x classes has a byte for each pair.
    cost = np.cumsum(count * (np.diff(context.objects.start) + 10) + context.num_classes // _CLASSES_PER_PAIR)
    last = np.flatnonzero(np.diff(cost // possible_pairs))
    bounds = np.concatenate([[0], np.cumsum(count)[last], [len(order)]])
    if not len(order):
        yield detections
    for i in track(range(len(bounds) - 1)):
        if bounds[i + 1] > bounds[i]:
            yield detections.select(order[bounds[i] : bounds[i + 1]])


def _within_class_limit(detections: Detections, protocol: Protocol) -> Ints:
    """Indices of the detections within the protocol's limit per class, ascending; the first of ties are kept."""
    num_classes = int(detections.classes.max(initial=-1)) + 1
    count = np.bincount(detections.classes, minlength=num_classes)
    everything = np.arange(len(detections))
    if protocol.per_class is None or (count <= protocol.per_class).all():
        return everything
    order = stable_by_key(descending_order(detections.scores), detections.classes, num_classes)
    rank = everything - np.repeat(np.cumsum(count) - count, count)
    return np.sort(order[rank < protocol.per_class])


def match_chunk(context: EvaluationContext, detections: Detections, task: Task) -> tuple[Matches, Ints]:
    """The matches of detections sorted by image, and the index among them of each of the N matches."""
    truth, federated, num_classes = context.objects, context.protocol.federated, context.num_classes
    images, classes, scores = detections.images, detections.classes, detections.scores
    first, last = (int(images[0]), int(images[-1]) + 1) if len(images) else (0, 0)
    objects = slice(truth.start[first], truth.start[last])
    image_of_object = np.repeat(np.arange(first, last), np.diff(truth.start[first : last + 1]))
    # One number for each combination of image and class.
    image_class = (images - first) * num_classes + classes
    object_image_class = (image_of_object - first) * num_classes + truth.classes[objects]

    never_fp = np.zeros(len(detections), dtype=np.bool_)
    evaluated = ~never_fp
    if federated:
        known = np.zeros((last - first) * num_classes, dtype=np.bool_)
        known[object_image_class] = True
        known[_listed(truth.negative, first, last, num_classes)] = True
        not_exhaustive = np.zeros_like(known)
        not_exhaustive[_listed(truth.not_exhaustive, first, last, num_classes)] = True
        never_fp, evaluated = not_exhaustive[image_class], known[image_class]
        if detections.areas is not None:  # of a box; lvis drops its mask where that has none
            evaluated &= (detections.areas > 0) & (detections.areas < np.inf)

    by_score = descending_order(scores)
    by_image = stable_by_key(by_score, images - first, last - first)
    rank_in_image = np.empty(len(images), dtype=np.int32)
    rank_in_image[by_image] = rank_in_group(images[by_image])
    # From here on only evaluated detections, by image, class and descending score.
    order = stable_by_key(by_score[evaluated[by_score]], classes, num_classes)
    order = stable_by_key(order, images - first, last - first)
    detections, image_class, never_fp = detections.select(order), image_class[order], never_fp[order]
    areas = _areas(detections, task)
    if federated:  # lvis drops detections without an area, after its limit per image
        never_fp |= ~((areas > 0) & (areas < np.inf))
    object_order = objects.start + np.argsort(object_image_class, kind="stable")
    object_image_class = np.sort(object_image_class, kind="stable")

    pairs = _overlapping_pairs(truth, detections, task, federated, image_class, object_image_class, object_order)
    assignment = greedy_assignment(truth, federated, objects, pairs)
    matches = Matches(
        detections.images.astype(np.int32),
        detections.classes.astype(np.int32),
        detections.scores,
        rank_in_image[order],
        rank_in_group(image_class).astype(np.int32),
        ~(out_of_range(areas) | never_fp[:, None]),
        assignment.detection,
        assignment.matched,
        assignment.ignored,
        assignment.objects,
    )
    return matches, order


def _overlapping_pairs(
    truth: GroundTruth,
    detections: Detections,
    task: Task,
    federated: bool,
    image_class: Ints,
    object_image_class: Ints,
    object_order: Ints,
) -> Pairs:
    """The pairs of a detection and an object of its image and class that overlap enough."""
    low = np.searchsorted(object_image_class, image_class, side="left")
    count = np.searchsorted(object_image_class, image_class, side="right") - low
    detection = np.repeat(np.arange(len(image_class)), count)
    target = object_order[index_ranges(low, count)]
    crowd = np.zeros(len(target), dtype=np.bool_) if federated else truth.crowd[target]
    if task == "bbox":
        iou = box_iou(detections.boxes[detection], truth.boxes[target], crowd)
    else:
        iou = _mask_ious(truth, detections, detection, target, crowd, image_class)
    enough = iou >= _LOWEST_IOU
    return Pairs(detection[enough], target[enough], iou[enough], image_class[detection[enough]])


def _mask_ious(
    truth: GroundTruth, detections: Detections, detection: Ints, target: Ints, crowd: Bools, image_class: Ints
) -> Floats:
    """(P,) IoU of all pairs; those of one image and class are all its detections with all its objects."""
    assert detections.masks is not None
    result = np.empty(len(detection))
    for start, stop in group_bounds(image_class[detection]):
        num_objects = np.count_nonzero(detection[start:stop] == detection[start])
        found, objects = detection[start:stop:num_objects], target[start : start + num_objects]
        height, width = truth.sizes[detections.images[found[0]]]
        true = [to_rle(truth.segmentations[g], int(height), int(width)) for g in objects]
        masks = [detections.masks[d] for d in found]
        result[start:stop] = mask_iou(masks, true, crowd[start : start + num_objects]).ravel()
    return result


def _listed(lists: ClassLists, first: int, last: int, num_classes: int) -> Ints:
    """The combinations of image and class in the lists of images first to last - 1."""
    counts = np.diff(lists.start[first : last + 1])
    values = lists.values[lists.start[first] : lists.start[last]]
    return np.repeat(np.arange(last - first), counts) * num_classes + values


def _areas(detections: Detections, task: Task) -> Floats:
    if detections.areas is not None:
        return detections.areas
    if task == "segm":
        assert detections.masks is not None
        masks = list(detections.masks)
        parts = [mask_utils.area(masks[i : i + _MAX_AREAS]) for i in range(0, len(masks), _MAX_AREAS)]
        return np.concatenate([np.zeros(0), *parts])
    return detections.boxes[:, 2] * detections.boxes[:, 3]
