"""Objects that only one of two runs finds: how many, and example images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from lt_det.errors import LtDetError
from lt_det.evaluation.context import EvaluationContext
from lt_det.evaluation.io.coco_results import load_results
from lt_det.evaluation.matching.detections import Detections
from lt_det.evaluation.matching.ground_truth import GroundTruth
from lt_det.evaluation.matching.iou import box_iou
from lt_det.evaluation.metrics.found_objects import FoundObjects, find_objects
from lt_det.evaluation.protocols import IOU_THRESHOLDS, PROTOCOLS
from lt_det.evaluation.schema import ClassEntry, Evaluation
from lt_det.io.annotations.coco_json import load_annotations
from lt_det.reporting.example_images import UNUSABLE, BoxKind, Example, draw_example, image_file, why_missing
from lt_det.reporting.overlays import score_words
from lt_det.terminal import count_of

_CLASSES = 4  # those with the fewest training images; one object of each
_IOU = float(IOU_THRESHOLDS[0])


@dataclass(frozen=True)
class EvaluatedRun:
    """Name of a run, its evaluation, and the folder of the ``evaluation.json``, to which ``results`` is relative."""

    name: str
    evaluation: Evaluation
    folder: Path


@dataclass(frozen=True)
class FoundCounts:
    """How many objects of a bucket, or of all classes if `bucket` is empty, two runs find; see `find_objects`."""

    bucket: str
    objects: int
    first: int
    other: int
    only_first: int
    only_other: int


@dataclass(frozen=True)
class FoundByOne:
    """Objects of the rarest bucket that only one of two runs finds.

    Attributes:
        counts: None if an object could not be looked for.
        summary: the counts, in a sentence.
        gained, lost: objects that only the other run finds, and those that only the first one finds: its image for
            the first run, and for the other.
        missing: why there are no images, in a sentence.
    """

    counts: FoundCounts | None = None
    summary: str = ""
    gained: tuple[tuple[Example, Example], ...] = ()
    lost: tuple[tuple[Example, Example], ...] = ()
    missing: str = ""


def found_by_one(first: EvaluatedRun, others: Sequence[EvaluatedRun], outside_images: bool = False) -> list[FoundByOne]:
    """Compare the objects that runs find with those that the first one finds.

    Gained and lost objects are picked by the same rule: of each of the classes with the fewest training images, the
    first object by image id.

    Args:
        first, others: evaluations of the same set under the same protocol.
        outside_images: see `image_file`.

    Returns:
        One for each of `others`.
    """
    try:
        objects = _Objects(first.evaluation, outside_images)
        before = _Findings(objects, first)
    except UNUSABLE as error:
        return [FoundByOne(missing=why_missing(error)) for _ in others]
    return [_compare(objects, before, other) for other in others]


class _Objects:
    """The objects of a set that runs should find."""

    def __init__(self, evaluation: Evaluation, outside_images: bool) -> None:
        self.json_file, self.image_root = _named(evaluation, "ground_truth"), evaluation.image_root
        self.outside_images = outside_images
        truth = load_annotations(self.json_file)
        self.images: dict[Any, dict[str, Any]] = {image["id"]: image for image in truth["images"]}
        limit = None if evaluation.max_dets is msgspec.UNSET else evaluation.max_dets
        protocol = PROTOCOLS[evaluation.protocol].with_max_dets(limit)
        self.context = EvaluationContext(GroundTruth.from_json(truth), protocol)
        self.names = {category["id"]: str(category["name"]) for category in truth["categories"]}
        entries = {entry.id: entry for entry in evaluation.classes}
        ids = self.context.ground_truth.category_ids.tolist()
        if set(ids) != set(entries):
            raise LtDetError(f"the categories of {self.json_file} are not those of the evaluation.")
        self.classes: list[ClassEntry] = [entries[id_] for id_ in ids]
        self.bucket, self.wanted = self._rarest(evaluation)

    def _rarest(self, evaluation: Evaluation) -> tuple[str, NDArray[np.bool_]]:
        """The rarest of the shown buckets with an object to find, empty for all classes, and (G,) its objects."""
        to_find = self.context.to_find[:, 0]
        for bucket in evaluation.shown_buckets:
            inside = np.array([entry.bucket == bucket for entry in self.classes])
            wanted = to_find & inside[self.context.objects.classes]
            if wanted.any():
                return bucket, wanted
        return "", to_find

    def first_of_each_class(self, candidates: NDArray[np.bool_]) -> list[int]:
        """Indices of the first of (G,) objects of the rarest classes that have any."""
        indices = np.flatnonzero(candidates)
        classes, first = np.unique(self.context.objects.classes[indices], return_index=True)
        of_class = dict(zip(classes.tolist(), indices[first].tolist(), strict=True))
        order = sorted(of_class, key=lambda k: (self.classes[k].images or 0, k))
        return [of_class[k] for k in order[:_CLASSES]]


class _Findings:
    """What one run detects, and which objects it finds."""

    def __init__(self, objects: _Objects, run: EvaluatedRun) -> None:
        results = load_results(run.folder / _named(run.evaluation, "results"), ["bbox"])
        self.name, self._objects = run.name, objects
        self._detections = Detections.from_results(results, objects.context.ground_truth, "bbox")
        self._outcome: FoundObjects = find_objects(objects.context, self._detections)
        self.found = self._outcome.found & objects.wanted

    def draw(self, index: int) -> Example:
        """The image of an object, with the object and what the run detects there."""
        objects, found = self._objects, bool(self.found[index])
        truth, ids = objects.context.objects, objects.context.ground_truth.category_ids
        image = int(np.searchsorted(truth.start, index, side="right")) - 1
        record = objects.images[truth.image_ids[image]]
        own_class, box = int(truth.classes[index]), truth.boxes[index]
        rows = self._overlapping(image, box)
        detected, scores = self._detections.classes[rows], self._detections.scores[rows]
        boxes: list[tuple[list[float], BoxKind]] = [(box.tolist(), "true")]
        words = ["found" if found else "missed"]
        if len(rows) and (detected[0] != own_class or not found):  # the most confident one, whatever its class
            own = detected[0] == own_class
            boxes.append((self._detections.boxes[rows[0]].tolist(), "own" if own else "other"))
            score = score_words(float(scores[0]))
            name = objects.names[ids[detected[0]]]
            words.append(f"its score of {score} is too low" if own else f"detected as {name} with score {score}")
        if found:
            best = int(np.argmax(detected == own_class))
            boxes.append((self._detections.boxes[rows[best]].tolist(), "own"))
            words[0] += f" with score {score_words(float(scores[best]))}"
        file = image_file(_image_root(objects), record, objects.json_file, objects.outside_images)
        entry = objects.classes[own_class]
        images = "" if entry.images is None else f", {count_of(entry.images, 'training image')}"
        return draw_example(file, record, boxes, entry.name + images, f"{self.name}: {', '.join(words)}")

    def _overlapping(self, image: int, box: NDArray[np.float64]) -> NDArray[np.int64]:
        """Detections in an image that overlap a box enough to match it, by descending score."""
        rows = np.flatnonzero(self._detections.images == image)
        boxes = np.broadcast_to(box, (len(rows), 4))
        iou = box_iou(self._detections.boxes[rows], boxes, np.zeros(len(rows), dtype=np.bool_))
        rows = rows[iou >= _IOU]
        return rows[np.argsort(-self._detections.scores[rows], kind="stable")]


def _compare(objects: _Objects, before: _Findings, run: EvaluatedRun) -> FoundByOne:
    try:
        after = _Findings(objects, run)
    except UNUSABLE as error:
        return FoundByOne(missing=why_missing(error))
    gained, lost = after.found & ~before.found, before.found & ~after.found
    numbers = [int(flags.sum()) for flags in (objects.wanted, before.found, after.found, lost, gained)]
    counts = FoundCounts(objects.bucket, *numbers)
    summary = _summary(counts, before.name, run.name)
    try:
        shown_gained, shown_lost = (
            tuple((before.draw(index), after.draw(index)) for index in objects.first_of_each_class(candidates))
            for candidates in (gained, lost)
        )
    except UNUSABLE as error:
        return FoundByOne(counts, summary, missing=why_missing(error))
    return FoundByOne(counts, summary, shown_gained, shown_lost)


def _summary(counts: FoundCounts, first: str, other: str) -> str:
    of_bucket = f" of the bucket {counts.bucket}" if counts.bucket else ""
    return (
        f"Of the {count_of(counts.objects, 'object')}{of_bucket}, {first} finds {counts.first} and {other} "
        f"{counts.other}; {counts.only_other} are found only by {other}, and {counts.only_first} only by {first}. Of a "
        f"class with n objects, the n most confident detections count, and match at IoU {_IOU:g}."
    )


def _named(evaluation: Evaluation, key: str) -> str:
    value: str | None = getattr(evaluation, key)
    if not value:
        raise LtDetError(f"the evaluation does not name its {key}.")
    return value


def _image_root(objects: _Objects) -> str:
    if not objects.image_root:
        raise LtDetError("the evaluation does not name its image_root.")
    return objects.image_root
