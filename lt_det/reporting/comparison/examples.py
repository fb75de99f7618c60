"""Objects that only one of two runs finds: how many, and example images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lt_det.errors import LtDetError
from lt_det.evaluation.context import EvaluationContext
from lt_det.evaluation.matching.detections import Detections
from lt_det.evaluation.matching.ground_truth import GroundTruth
from lt_det.evaluation.metrics.found_objects import most_confident_detections
from lt_det.evaluation.protocols import PROTOCOLS
from lt_det.evaluation.schema import ALL, ClassEntry, Evaluation
from lt_det.io.annotations.coco_json import load_annotations
from lt_det.reporting.evaluated_results import evaluated_results
from lt_det.reporting.example_images import UNUSABLE, BoxKind, Example, draw_example, image_file, why_missing
from lt_det.reporting.overlays import score_words
from lt_det.reporting.tables import TextTable
from lt_det.terminal import count_of

_CLASSES = 4  # those with the fewest training images; one object of each

Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class EvaluatedRun:
    """Name of a run, its evaluation, and the folder of the ``evaluation.json``, to which ``results`` is relative."""

    name: str
    evaluation: Evaluation
    folder: Path


@dataclass(frozen=True)
class FoundCounts:
    """How many objects of a group two runs find: the most confident detection on the object has its class."""

    objects: int
    first: int
    other: int
    only_first: int
    only_other: int


@dataclass(frozen=True)
class FoundByOne:
    """Objects that only one of two runs finds.

    Attributes:
        counts: by group, "all" and the shown buckets; empty if a file is missing.
        table: the same in words; None if a file is missing.
        bucket: the rarest of these buckets with an object, of which `gained` and `lost` are; empty for all classes.
        gained, lost: objects that only the other run finds, and those that only the first one finds: its image for
            the first run, and for the other.
        missing: why there are no images, in a sentence.
    """

    counts: dict[str, FoundCounts]
    table: TextTable | None = None
    bucket: str = ""
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
        return [FoundByOne({}, missing=why_missing(error)) for _ in others]
    return [_compare(objects, before, other) for other in others]


class _Objects:
    """The objects of a set that runs should find.

    Attributes:
        groups: by name, (G,) the objects of "all" and of each shown bucket that has any.
    """

    def __init__(self, evaluation: Evaluation, outside_images: bool) -> None:
        self.json_file, self.image_root = _named(evaluation, "ground_truth"), evaluation.image_root
        self.outside_images = outside_images
        truth = load_annotations(self.json_file)
        context = EvaluationContext(GroundTruth.from_json(truth), PROTOCOLS[evaluation.protocol])
        self.truth, to_find = context.objects, context.to_find[:, 0]
        self.images: dict[Any, dict[str, Any]] = {image["id"]: image for image in truth["images"]}
        entries = {entry.id: entry for entry in evaluation.classes}
        ids = self.truth.category_ids.tolist()
        if set(ids) != set(entries):
            raise LtDetError(f"the categories of {self.json_file} are not those of the evaluation.")
        self.classes: list[ClassEntry] = [entries[id_] for id_ in ids]
        bucket_of = np.array([entry.bucket for entry in self.classes], dtype=object)[self.truth.classes]
        of_buckets = {name: to_find & (bucket_of == name) for name in evaluation.shown_buckets}
        self.groups: dict[str, Flags] = {ALL: to_find}
        self.groups |= {name: members for name, members in of_buckets.items() if members.any()}

    @property
    def rarest(self) -> str:
        """The group whose objects are shown."""
        return next((name for name in self.groups if name != ALL), ALL)

    def first_of_each_class(self, candidates: Flags) -> list[int]:
        """Indices of the first of (G,) objects of the rarest classes that have any."""
        indices = np.flatnonzero(candidates)
        classes, first = np.unique(self.truth.classes[indices], return_index=True)
        of_class = dict(zip(classes.tolist(), indices[first].tolist(), strict=True))
        order = sorted(of_class, key=lambda k: (self.classes[k].images or 0, k))
        return [of_class[k] for k in order[:_CLASSES]]


class _Findings:
    """What one run detects, and which objects it finds."""

    def __init__(self, objects: _Objects, run: EvaluatedRun) -> None:
        results = evaluated_results(run.evaluation, run.folder)
        self.name, self._objects = run.name, objects
        self._detections = Detections.from_results(results, objects.truth, "bbox")
        self._best = most_confident_detections(objects.truth, self._detections)
        classes = np.append(self._detections.classes, -1)[self._best]  # the last stands for no detection
        self.found: Flags = classes == objects.truth.classes

    def draw(self, index: int) -> Example:
        """The image of an object, with the object and the most confident detection on it."""
        objects, best = self._objects, int(self._best[index])
        truth = objects.truth
        entry = objects.classes[int(truth.classes[index])]
        boxes: list[tuple[list[float], BoxKind]] = [(truth.boxes[index].tolist(), "true")]
        caption = "no detection"
        if best >= 0:
            detected = objects.classes[int(self._detections.classes[best])]
            caption = f"{detected.name}, score {score_words(float(self._detections.scores[best]))}"
            boxes.append((self._detections.boxes[best].tolist(), "own" if detected is entry else "other"))
        image = int(np.searchsorted(truth.start, index, side="right")) - 1
        record = objects.images[truth.image_ids[image]]
        if not objects.image_root:
            raise LtDetError("the evaluation does not name its image_root.")
        file = image_file(objects.image_root, record, objects.json_file, objects.outside_images)
        images = "" if entry.images is None else f", {count_of(entry.images, 'training image')}"
        return draw_example(file, record, boxes, entry.name + images, f"{self.name}: {caption}")


def _compare(objects: _Objects, before: _Findings, run: EvaluatedRun) -> FoundByOne:
    try:
        after = _Findings(objects, run)
    except UNUSABLE as error:
        return FoundByOne({}, missing=why_missing(error))
    lost, gained = before.found & ~after.found, after.found & ~before.found
    counts = {
        name: FoundCounts(
            int(members.sum()), *(int((members & flags).sum()) for flags in (before.found, after.found, lost, gained))
        )
        for name, members in objects.groups.items()
    }
    table, bucket = _table(counts, before.name, run.name), objects.rarest
    try:
        shown_gained, shown_lost = (
            tuple((before.draw(index), after.draw(index)) for index in objects.first_of_each_class(picked))
            for picked in (objects.groups[bucket] & gained, objects.groups[bucket] & lost)
        )
    except UNUSABLE as error:
        return FoundByOne(counts, table, missing=why_missing(error))
    return FoundByOne(counts, table, "" if bucket == ALL else bucket, shown_gained, shown_lost)


def _table(counts: dict[str, FoundCounts], first: str, other: str) -> TextTable:
    columns = ["bucket", "objects", first, other, f"only {first}", f"only {other}"]
    rows = [
        [name, *map(str, (found.objects, found.first, found.other, found.only_first, found.only_other))]
        for name, found in counts.items()
    ]
    return TextTable(f"Objects found: {other} against {first}", columns, rows)


def _named(evaluation: Evaluation, key: str) -> str:
    value: str | None = getattr(evaluation, key)
    if not value:
        raise LtDetError(f"the evaluation does not name its {key}.")
    return value
