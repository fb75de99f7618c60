"""Error analysis: how much AP50 each type of error of TIDE costs.

Bolya et al. 2020, https://arxiv.org/abs/2008.08115, section 2. A false positive of AP50 is one of five types, by its
IoU with the objects to find of its image; an object that no detection finds or points at is a miss:

==============  ======================================================================  ===========================
type            a false positive whose highest IoU is                                   fixed by
==============  ======================================================================  ===========================
localization    from 0.1 to below 0.5 with an object of its class                       giving it the object's box
classification  0.5 or more with an object of another class                             giving it the object's class
duplicate       0.5 or more with an object of its class that another detection matches  removing it
background      0.1 or less with every object                                           removing it
both            between 0.1 and 0.5 with an object of another class only                removing it
miss            (an object not found, and not pointed at by the first two types)        removing the object
==============  ======================================================================  ===========================

The first line that applies is the type. An object that was not found is given to one error: of those of the first two
types that point at it, the one with the highest score. The others are removed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lt_det.evaluation._arrays import (
    Bools,
    Floats,
    Ints,
    descending_order,
    group_bounds,
    group_starts,
    index_ranges,
    stable_by_key,
)
from lt_det.evaluation.context import EvaluationContext
from lt_det.evaluation.matching.assignment import matched_at
from lt_det.evaluation.matching.detections import Detections
from lt_det.evaluation.matching.ground_truth import GroundTruth
from lt_det.evaluation.matching.iou import box_iou, mask_iou, to_rle
from lt_det.evaluation.matching.match import POSSIBLE_PAIRS, Matches, by_images, match_chunk
from lt_det.evaluation.metrics.average_precision import within_image_limits
from lt_det.evaluation.metrics.bucket_ap import percent_mean
from lt_det.evaluation.metrics.interpolation import precision_at_recalls, true_positives_needed
from lt_det.evaluation.progress import Track
from lt_det.evaluation.protocols import IOU_THRESHOLDS, RECALL_THRESHOLDS, Task
from lt_det.evaluation.schema import ALL, ErrorAnalysis

ERROR_TYPES = ("classification", "localization", "both", "duplicate", "background", "miss")
FOREGROUND_IOU = float(IOU_THRESHOLDS[0])
BACKGROUND_IOU = 0.1

_CLASSIFICATION, _LOCALIZATION, _BOTH, _DUPLICATE, _BACKGROUND = range(5)  # indices into ERROR_TYPES
_CORRECT, _IGNORED = -1, -2
_MAX_PAIRS = 500_000  # detection x object; about 100 MB


@dataclass(frozen=True, eq=False)
class Errors:
    """How AP50 counts N detections, sorted by image, and within an image by class and descending score.

    Detections beyond the protocol's limits per image are left out.

    Attributes:
        images, classes: (N,) int32 indices.
        scores: (N,)
        kinds: (N,) int8 index into `ERROR_TYPES`; -1 for a true positive, -2 for an ignored detection.
        objects: (N,) int32 the object that the detection matches or, for the first two types, points at, as its index
            in `EvaluationContext.objects`; -1 for none.
    """

    images: NDArray[np.int32]
    classes: NDArray[np.int32]
    scores: Floats
    kinds: NDArray[np.int8]
    objects: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.scores)

    def select(self, index: NDArray[Any]) -> Errors:
        """The detections of an index or bool array, in its order."""
        return Errors(*(getattr(self, field.name)[index] for field in fields(self)))

    @classmethod
    def concatenate(cls, parts: Sequence[Errors]) -> Errors:
        """Join the errors of different images, sorted by image."""
        joined = cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))
        return joined.select(np.argsort(joined.images, kind="stable"))


def find_errors(
    context: EvaluationContext,
    detections: Detections,
    task: Task,
    possible_pairs: int = POSSIBLE_PAIRS,
    track: Track = iter,
) -> tuple[Matches, Errors]:
    """The result of `match` and the type of each error, in one pass; for the arguments see `match`."""
    matches, errors = [], []
    for part in by_images(context, detections, possible_pairs, track):
        found, index = match_chunk(context, part, task)
        matches.append(found)
        errors.append(_errors_of_chunk(context, part.select(index), found, task))
    return Matches.concatenate(matches), Errors.concatenate(errors)


def analyze_errors(context: EvaluationContext, errors: Errors) -> ErrorAnalysis:
    """How much AP50 each class, each bucket and all classes would gain if the errors of one type were fixed.

    Args:
        context: of all images of the set, including those without a detection.
        errors: of all detections, from `find_errors`.

    Returns:
        Losses of AP50 in percent points; the loss of a group is the mean over its classes. A class without an object
        to find, and a group without such a class, has None; it still has counts.
    """
    truth, num_classes = context.objects, context.num_classes
    to_find = context.to_find[:, 0]
    errors = errors.select(errors.kinds != _IGNORED)

    found = np.zeros(len(truth.classes), dtype=np.bool_)
    found[errors.objects[errors.kinds == _CORRECT]] = True
    missed = to_find & ~found
    pointing = np.flatnonzero((errors.kinds == _CLASSIFICATION) | (errors.kinds == _LOCALIZATION))
    pointing = pointing[~found[errors.objects[pointing]]]
    missed[errors.objects[pointing]] = False
    pointing = pointing[np.argsort(-errors.scores[pointing], kind="stable")]
    _, best = np.unique(errors.objects[pointing], return_index=True)
    fixed = errors.select(pointing[best])

    # One curve per class: its detections, followed by the fixed ones, which have the class of their object.
    classes = np.concatenate([errors.classes, truth.classes[fixed.objects]])
    scores = np.concatenate([errors.scores, fixed.scores])
    kinds = np.concatenate([errors.kinds, fixed.kinds])
    is_fixed = np.arange(len(scores)) >= len(errors)
    order = stable_by_key(descending_order(scores), classes, num_classes)
    classes, kinds, is_fixed = classes[order], kinds[order], is_fixed[order]
    is_tp = is_fixed | (kinds == _CORRECT)

    def curves(kept: Bools, objects: Bools) -> Floats:
        return _precision(classes[kept], is_tp[kept], np.bincount(truth.classes[objects], minlength=num_classes))

    plain = curves(~is_fixed, to_find)
    without = {name: curves((kinds == kind) == is_fixed, to_find) for kind, name in enumerate(ERROR_TYPES[:-1])}
    without_misses = curves(~is_fixed, to_find & ~missed)
    # A class of which every object is missed has no curve left: nothing else keeps it from an AP of 100.
    without_misses[:, (without_misses[0] < 0) & (plain[0] >= 0)] = 1.0
    without["miss"] = without_misses

    buckets = context.buckets
    groups = {ALL: np.arange(num_classes)} | {name: buckets.members(b) for b, name in enumerate(buckets.names)}
    single = [np.array([k]) for k in range(num_classes)]
    counts = [np.bincount(errors.classes[errors.kinds == kind], minlength=num_classes) for kind in range(5)]
    counts.append(np.bincount(truth.classes[missed], minlength=num_classes))
    return ErrorAnalysis(
        iou=FOREGROUND_IOU,
        background_iou=BACKGROUND_IOU,
        types=list(ERROR_TYPES),
        loss={
            group: {name: _gain(plain, without[name], members) for name in ERROR_TYPES}
            for group, members in groups.items()
        },
        class_loss={name: [_gain(plain, without[name], k) for k in single] for name in ERROR_TYPES},
        class_ap50=[_mean(plain[:, k]) for k in single],
        count={name: count.tolist() for name, count in zip(ERROR_TYPES, counts, strict=True)},
    )


def _errors_of_chunk(context: EvaluationContext, detections: Detections, matches: Matches, task: Task) -> Errors:
    """The errors among the detections of `matches`."""
    truth, to_find = context.objects, context.to_find[:, 0]
    kinds = np.where(matches.fp_if_unmatched[:, 0], _BACKGROUND, _IGNORED).astype(np.int8)
    index, is_tp = matched_at(matches.matched, matches.ignored, 0, 0)
    kinds[matches.overlapping[index]] = np.where(is_tp, _CORRECT, _IGNORED)
    objects = np.full(len(matches), -1, dtype=np.int32)
    objects[matches.overlapping] = matches.objects
    kept = within_image_limits(matches, context.protocol)
    false_positives = np.flatnonzero(kept & (kinds == _BACKGROUND))
    images = matches.images[false_positives]
    for start, stop in _blocks(truth.start[images + 1] - truth.start[images]):
        block = false_positives[start:stop]
        kinds[block], objects[block] = _explain(truth, to_find, detections.select(block), task)
    return Errors(matches.images, matches.classes, matches.scores, kinds, objects).select(kept)


def _blocks(num_pairs: Ints) -> Iterator[tuple[int, int]]:
    """Start and stop of blocks with at most `_MAX_PAIRS` pairs, or one detection, from the (N,) pairs of each one."""
    total = np.cumsum(num_pairs)
    start = 0
    while start < len(num_pairs):
        before = total[start] - num_pairs[start]
        stop = max(int(np.searchsorted(total, before + _MAX_PAIRS, side="right")), start + 1)
        yield start, stop
        start = stop


def _explain(truth: GroundTruth, to_find: Bools, false_positives: Detections, task: Task) -> tuple[Ints, Ints]:
    """Type of each false positive, and the object that it points at."""
    detection, target, iou = _overlaps(truth, false_positives, task)
    near = (iou >= BACKGROUND_IOU) & to_find[target]
    detection, target, iou = detection[near], target[near], iou[near]
    same_class = false_positives.classes[detection] == truth.classes[target]
    number = len(false_positives)
    own_iou, own_object = _highest(number, detection[same_class], target[same_class], iou[same_class])
    other_iou, other_object = _highest(number, detection[~same_class], target[~same_class], iou[~same_class])
    conditions = [
        (own_iou >= BACKGROUND_IOU) & (own_iou < FOREGROUND_IOU),
        other_iou >= FOREGROUND_IOU,
        own_iou >= FOREGROUND_IOU,
        other_iou <= BACKGROUND_IOU,
    ]
    kinds = np.select(conditions, [_LOCALIZATION, _CLASSIFICATION, _DUPLICATE, _BACKGROUND], _BOTH)
    return kinds, np.select(conditions[:2], [own_object, other_object], -1)


def _overlaps(truth: GroundTruth, detections: Detections, task: Task) -> tuple[Ints, Ints, Floats]:
    """Each detection with each object of its image: detection, object and IoU."""
    first = truth.start[detections.images]
    count = truth.start[detections.images + 1] - first
    target = index_ranges(first, count)
    detection = np.repeat(np.arange(len(detections)), count)
    if task == "bbox":
        no_crowd = np.zeros(len(target), dtype=np.bool_)
        return detection, target, box_iou(detections.boxes[detection], truth.boxes[target], no_crowd)
    assert detections.masks is not None
    ious = [np.zeros(0)]
    for start, stop in group_bounds(detections.images):
        image = detections.images[start]
        height, width = truth.sizes[image].tolist()
        segmentations = truth.segmentations[truth.start[image] : truth.start[image + 1]]
        if segmentations:
            true = [to_rle(segmentation, height, width) for segmentation in segmentations]
            ious.append(mask_iou(detections.masks[start:stop], true, np.zeros(len(true), dtype=np.bool_)).ravel())
    return detection, target, np.concatenate(ious)


def _highest(number: int, detection: Ints, target: Ints, iou: Floats) -> tuple[Floats, Ints]:
    """(number,) highest IoU of each detection, 0 without a pair, and its object; of ties the last, as in matching.

    The pairs of a detection are sorted by object.
    """
    highest, best_object = np.zeros(number), np.full(number, -1)
    order = np.argsort(iou, kind="stable")  # of several assignments to one index the last remains
    highest[detection[order]] = iou[order]
    best_object[detection[order]] = target[order]
    return highest, best_object


def _precision(classes: NDArray[Any], is_tp: Bools, num_objects: Ints) -> Floats:
    """(R, K) interpolated precision, as in `precision_table`; -1 for a class without an object.

    Args:
        classes, is_tp: (n,) of the detections, sorted by class and descending score.
        num_objects: (K,) numbers of objects to find.
    """
    table = np.full((len(num_objects), len(RECALL_THRESHOLDS)), -1.0)
    table[num_objects > 0] = 0.0
    needed = true_positives_needed(num_objects)
    hits = np.flatnonzero(is_tp)
    if len(hits):
        starts = group_starts(classes[hits])
        found = classes[hits][starts]
        tp = np.arange(len(hits)) - np.repeat(starts, np.diff(np.append(starts, len(hits)))) + 1.0
        fp = hits - np.searchsorted(classes, classes[hits]) + 1 - tp
        table[found] = precision_at_recalls(tp / (fp + tp + np.spacing(1)), starts, needed[found])
    return table.T


def _gain(before: Floats, after: Floats, classes: Ints) -> float | None:
    """AP50 points that a group of classes gains."""
    low, high = _mean(before[:, classes]), _mean(after[:, classes])
    return None if low is None or high is None else high - low


def _mean(values: Floats) -> float | None:
    mean = percent_mean(values)
    return None if np.isnan(mean) else mean
