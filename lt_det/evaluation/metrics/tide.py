"""Which kinds of mistakes cost how much AP50: the error types of TIDE.

Bolya et al. 2020, https://arxiv.org/abs/2008.08115, section 2. A detection that AP50 counts as wrong is one of five
types, by its overlap with the objects of its image that are to be found; an object that nothing points at is missed:

==============  ====================================================================  ===========================
type            a wrong detection whose best overlap is                               mended by
==============  ====================================================================  ===========================
localization    with an object of its class 0.1 or more, but below 0.5                giving it the object's box
classification  with an object of another class 0.5 or more                           giving it the object's class
duplicate       with an object of its class 0.5 or more, which a better one has       leaving it out
background      with any object 0.1 or less                                           leaving it out
both            with an object of another class between the two                       leaving it out
miss            (an object that is not found, nor pointed at by the first two types)  not asking for the object
==============  ====================================================================  ===========================

The first line that fits is the type. An object is given to one detection only: of those that point at it, by either
of the first two types, to that with the highest score, and to none where it was found; the others are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lt_det.evaluation._arrays import falling, grouped, ranges, run_bounds, run_starts
from lt_det.evaluation.matching.assignment import hits
from lt_det.evaluation.matching.detections import Detections
from lt_det.evaluation.matching.ground_truth import GroundTruth
from lt_det.evaluation.matching.iou import box_iou, mask_iou, run_lengths
from lt_det.evaluation.matching.match import POSSIBLE_PAIRS, Matches, by_images, judged_truth, match_chunk
from lt_det.evaluation.metrics.average_precision import at_recalls, hits_needed, whether_to_find, within_image_limits
from lt_det.evaluation.progress import Track
from lt_det.evaluation.protocols import IOU_THRESHOLDS, RECALL_THRESHOLDS, Protocol, Task
from lt_det.statistics.buckets import FrequencyBuckets

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

ERROR_TYPES = ("classification", "localization", "both", "duplicate", "background", "miss")
FOREGROUND_IOU = float(IOU_THRESHOLDS[0])
BACKGROUND_IOU = 0.1

_CLASSIFICATION, _LOCALIZATION, _BOTH, _DUPLICATE, _BACKGROUND = range(5)  # places in ERROR_TYPES
_RIGHT, _NEITHER = -1, -2
_PAIRS_AT_ONCE = 500_000  # detection x object; about 100 MB


@dataclass(frozen=True, eq=False)
class Errors:
    """What AP50 holds of N detections, sorted by image, and inside an image by class and falling score.

    Those beyond the protocol's limits on an image are left out.

    Attributes:
        images, classes: (N,) int32 indices.
        scores: (N,)
        kinds: (N,) int8 place in `ERROR_TYPES`; -1: right; -2: neither right nor wrong.
        objects: (N,) int32 the object that it found or, for the first two types, points at, as its index in the
            judged ground truth; -1: none.
    """

    images: NDArray[np.int32]
    classes: NDArray[np.int32]
    scores: Floats
    kinds: NDArray[np.int8]
    objects: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.scores)

    def select(self, which: NDArray[Any]) -> Errors:
        """Those of an index or bool array, in its order."""
        return Errors(*(getattr(self, field.name)[which] for field in fields(self)))

    @classmethod
    def concatenate(cls, parts: Sequence[Errors]) -> Errors:
        """Join the errors of different images, in the order of the images."""
        joined = cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))
        return joined.select(np.argsort(joined.images, kind="stable"))


def find_errors(
    truth: GroundTruth,
    detections: Detections,
    task: Task,
    protocol: Protocol,
    possible_pairs: int = POSSIBLE_PAIRS,
    track: Track = iter,
) -> tuple[Matches, Errors]:
    """What `match` gives, and which of them are errors of which kind, from one pass.

    Args:
        truth, detections, task, possible_pairs, track: see `match`.
        protocol: whose rules say what is wrong.
    """
    truth = judged_truth(truth, protocol)
    to_find = whether_to_find(truth, protocol)[:, 0]
    matches, errors = [], []
    for part in by_images(truth, detections, protocol, possible_pairs, track):
        found, place = match_chunk(truth, part, task, protocol)
        matches.append(found)
        errors.append(_errors_of_chunk(truth, to_find, part.select(place), found, task, protocol))
    return Matches.concatenate(matches), Errors.concatenate(errors)


def error_view(truth: GroundTruth, errors: Errors, protocol: Protocol, buckets: FrequencyBuckets) -> dict[str, Any]:
    """How much AP50 each class, each bucket and all classes would gain if one type of error were mended.

    Args:
        truth: of all images of the set, also those without a detection.
        errors: of all detections.
        protocol: that of `find_errors`.
        buckets: of the same K classes.

    Returns:
        ``iou`` and ``background_iou``, the two thresholds; ``types``, the names; ``class_ap50``: K numbers in percent;
        ``class_loss``: for each type K numbers, what AP50 would gain; ``loss``: their means over the classes of
        "all" and of each bucket; ``count``: for each type K numbers of detections or, for "miss", objects. A class
        without an object to find, and a bucket without such a class, has None; it has counts.
    """
    num_classes = truth.num_classes
    truth = judged_truth(truth, protocol)
    to_find = whether_to_find(truth, protocol)[:, 0]
    errors = errors.select(errors.kinds != _NEITHER)

    found = np.zeros(len(truth.classes), dtype=np.bool_)
    found[errors.objects[errors.kinds == _RIGHT]] = True
    missed = to_find & ~found
    pointing = np.flatnonzero((errors.kinds == _CLASSIFICATION) | (errors.kinds == _LOCALIZATION))
    pointing = pointing[~found[errors.objects[pointing]]]
    missed[errors.objects[pointing]] = False
    pointing = pointing[np.argsort(-errors.scores[pointing], kind="stable")]
    _, best = np.unique(errors.objects[pointing], return_index=True)
    mended = errors.select(pointing[best])

    # One curve for each class: the detections, and behind them the mended ones, under the class of their object.
    classes = np.concatenate([errors.classes, truth.classes[mended.objects]])
    scores = np.concatenate([errors.scores, mended.scores])
    kinds = np.concatenate([errors.kinds, mended.kinds])
    is_mended = np.arange(len(scores)) >= len(errors)
    order = grouped(falling(scores), classes, num_classes)
    classes, kinds, is_mended = classes[order], kinds[order], is_mended[order]
    right = is_mended | (kinds == _RIGHT)

    def curves(which: Bools, objects: Bools) -> Floats:
        return _precision(classes[which], right[which], np.bincount(truth.classes[objects], minlength=num_classes))

    plain = curves(~is_mended, to_find)
    without = {name: curves((kinds == kind) == is_mended, to_find) for kind, name in enumerate(ERROR_TYPES[:-1])}
    miss = curves(~is_mended, to_find & ~missed)
    # Of a class of which every object is missed no curve is left: nothing else stands between it and all of its AP.
    miss[:, (miss[0] < 0) & (plain[0] >= 0)] = 1.0
    without["miss"] = miss

    groups = {"all": np.arange(num_classes)} | {name: buckets.members(b) for b, name in enumerate(buckets.names)}
    of_class = [np.array([k]) for k in range(num_classes)]
    counts = [np.bincount(errors.classes[errors.kinds == kind], minlength=num_classes) for kind in range(5)]
    counts.append(np.bincount(truth.classes[missed], minlength=num_classes))
    return {
        "iou": FOREGROUND_IOU,
        "background_iou": BACKGROUND_IOU,
        "types": list(ERROR_TYPES),
        "loss": {
            group: {name: _gain(plain, without[name], members) for name in ERROR_TYPES}
            for group, members in groups.items()
        },
        "class_loss": {name: [_gain(plain, without[name], k) for k in of_class] for name in ERROR_TYPES},
        "class_ap50": [_mean(plain[:, k]) for k in of_class],
        "count": {name: count.tolist() for name, count in zip(ERROR_TYPES, counts, strict=True)},
    }


def _errors_of_chunk(
    truth: GroundTruth, to_find: Bools, detections: Detections, matches: Matches, task: Task, protocol: Protocol
) -> Errors:
    """The errors among the detections of some matches."""
    kinds = np.where(matches.wrong_if_unmatched[:, 0], _BACKGROUND, _NEITHER).astype(np.int8)
    which, right = hits(matches.matched, matches.neutral, 0, 0)
    kinds[matches.touching[which]] = np.where(right, _RIGHT, _NEITHER)
    objects = np.full(len(matches), -1, dtype=np.int32)
    objects[matches.touching] = matches.objects
    kept = within_image_limits(matches, protocol)
    wrong = np.flatnonzero(kept & (kinds == _BACKGROUND))
    images = matches.images[wrong]
    for start, stop in _blocks(truth.start[images + 1] - truth.start[images]):
        block = wrong[start:stop]
        kinds[block], objects[block] = _explain(truth, to_find, detections.select(block), task)
    return Errors(matches.images, matches.classes, matches.scores, kinds, objects).select(kept)


def _blocks(pairs: Ints) -> Iterator[tuple[int, int]]:
    """Start and stop of blocks with few pairs, but at least one detection, from each one's number of pairs."""
    total = np.cumsum(pairs)
    start = 0
    while start < len(pairs):
        before = total[start] - pairs[start]
        stop = max(int(np.searchsorted(total, before + _PAIRS_AT_ONCE, side="right")), start + 1)
        yield start, stop
        start = stop


def _explain(truth: GroundTruth, to_find: Bools, wrong: Detections, task: Task) -> tuple[Ints, Ints]:
    """Type of each wrong detection, and the object that it points at."""
    detection, target, iou = _overlaps(truth, wrong, task)
    near = (iou >= BACKGROUND_IOU) & to_find[target]
    detection, target, iou = detection[near], target[near], iou[near]
    same = wrong.classes[detection] == truth.classes[target]
    own, own_object = _best(len(wrong), detection[same], target[same], iou[same])
    other, other_object = _best(len(wrong), detection[~same], target[~same], iou[~same])
    conditions = [
        (own >= BACKGROUND_IOU) & (own < FOREGROUND_IOU),
        other >= FOREGROUND_IOU,
        own >= FOREGROUND_IOU,
        other <= BACKGROUND_IOU,
    ]
    kinds = np.select(conditions, [_LOCALIZATION, _CLASSIFICATION, _DUPLICATE, _BACKGROUND], _BOTH)
    return kinds, np.select(conditions[:2], [own_object, other_object], -1)


def _overlaps(truth: GroundTruth, detections: Detections, task: Task) -> tuple[Ints, Ints, Floats]:
    """Each detection with each object of its image: detection, object and IoU."""
    first = truth.start[detections.images]
    count = truth.start[detections.images + 1] - first
    target, _ = ranges(first, count)
    detection = np.repeat(np.arange(len(detections)), count)
    if task == "bbox":
        no_crowd = np.zeros(len(target), dtype=np.bool_)
        return detection, target, box_iou(detections.boxes[detection], truth.boxes[target], no_crowd)
    assert detections.masks is not None
    ious = [np.zeros(0)]
    for start, stop in run_bounds(detections.images):
        image = detections.images[start]
        height, width = truth.sizes[image].tolist()
        outlines = truth.outlines[truth.start[image] : truth.start[image + 1]]
        if outlines:
            true = [run_lengths(outline, height, width) for outline in outlines]
            ious.append(mask_iou(detections.masks[start:stop], true, np.zeros(len(true), dtype=np.bool_)).ravel())
    return detection, target, np.concatenate(ious)


def _best(number: int, detection: Ints, target: Ints, iou: Floats) -> tuple[Floats, Ints]:
    """(number,) highest IoU of each detection, 0 without one, and its object; of equal ones the later, as in matching.

    The pairs of a detection come in the order of the objects.
    """
    best, best_object = np.zeros(number), np.full(number, -1)
    order = np.argsort(iou, kind="stable")  # of several assignments to one place the last remains
    best[detection[order]] = iou[order]
    best_object[detection[order]] = target[order]
    return best, best_object


def _precision(classes: NDArray[Any], right: Bools, objects: Ints) -> Floats:
    """(R, K) precision at each recall, as in `precision_table`; -1 for a class without an object.

    Args:
        classes, right: (n,) detections by class and falling score.
        objects: (K,) numbers of objects to find.
    """
    table = np.full((len(objects), len(RECALL_THRESHOLDS)), -1.0)
    table[objects > 0] = 0.0
    needed = hits_needed(objects)
    hits = np.flatnonzero(right)
    if len(hits):
        starts = run_starts(classes[hits])
        found = classes[hits][starts]
        true = np.arange(len(hits)) - np.repeat(starts, np.diff(np.append(starts, len(hits)))) + 1.0
        false = hits - np.searchsorted(classes, classes[hits]) + 1 - true
        table[found] = at_recalls(true / (false + true + np.spacing(1)), starts, needed[found])
    return table.T


def _gain(before: Floats, after: Floats, classes: Ints) -> float | None:
    """AP50 points that some classes gain."""
    low, high = _mean(before[:, classes]), _mean(after[:, classes])
    return None if low is None or high is None else high - low


def _mean(cells: Floats) -> float | None:
    valid = cells[cells > -1]
    return float(np.mean(valid)) * 100 if valid.size else None
