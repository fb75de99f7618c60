"""`LongTailAP`: `evaluate` for validation loops, batch by batch."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lt_det.errors import LtDetError
from lt_det.evaluation._arrays import Ints
from lt_det.evaluation.api import (
    AnyBuckets,
    categories_of_lists,
    fields_to_read,
    make_buckets,
    make_context,
    make_result,
    match_task,
    parse_protocol,
    parse_tasks,
)
from lt_det.evaluation.checks import (
    count_unusual_detections,
    warn_of_empty_images,
    warn_of_objects,
    warn_of_unusual_detections,
)
from lt_det.evaluation.context import EvaluationContext
from lt_det.evaluation.hints.first_detections import FirstDetections
from lt_det.evaluation.hints.image_id_readings import ImageIds
from lt_det.evaluation.io.coco_results import Results
from lt_det.evaluation.io.federated_lists import default_protocol
from lt_det.evaluation.io.ground_truth_input import Annotations, check_labels, read_ground_truth, read_training_set
from lt_det.evaluation.io.per_image import (
    check_distinct,
    own_image_ids,
    predictions_to_results,
    targets_to_coco,
    with_image_ids,
)
from lt_det.evaluation.matching.detections import Detections
from lt_det.evaluation.matching.ground_truth import ClassLists, GroundTruth
from lt_det.evaluation.matching.match import Matches
from lt_det.evaluation.matching.processed_images import warn_of_missing_images
from lt_det.evaluation.metrics.bootstrap import check_draws
from lt_det.evaluation.metrics.tide import Errors
from lt_det.evaluation.protocols import COCO, AreaFrom, Task, check_max_dets
from lt_det.evaluation.result import EvaluationResult
from lt_det.evaluation.task_results import TaskResult, summarize_task

_IN_PART = (
    "Of several processes, each sees only its own images: gather their detections, and pass them to one LongTailAP. "
    "For AP of some images, pass a json of these images alone."
)


@dataclass(frozen=True, eq=False)
class _Batch:
    """Ground truth of some images, without segmentations, and the matches and errors of each task."""

    truth: GroundTruth
    matches: dict[Task, Matches]
    errors: dict[Task, Errors | None]


class LongTailAP:
    """Accumulates detections batch by batch; `compute` returns what `evaluate` returns for all of them.

    `update` matches the detections and does not keep their masks, so memory grows by a few bytes per detection. Only
    the protocols "fixed" and "pool" keep all detections until `compute`, because they limit the detections of a class
    in the whole set.
    """

    def __init__(
        self,
        ground_truth: Any = None,
        train: Any = None,
        protocol: str | None = None,
        buckets: AnyBuckets = None,
        iou: str | Sequence[str] = "bbox",
        draws: int = 0,
        *,
        max_dets: int | None = None,
        area_from: AreaFrom = "mask",
        classes: Mapping[int, str] | None = None,
        dataset: str | None = None,
        image_root: str | os.PathLike[str] | None = None,
    ) -> None:
        """
        Args:
            ground_truth: path of a COCO- or LVIS-format json, or its content; `update` then takes detections only. None
                if `update` takes the targets, too; the protocol is then "coco".
            train, protocol, buckets, iou, draws, max_dets, area_from, dataset, image_root: see `evaluate`.
            classes: class names by category id, as in `evaluate`. A json has its own categories and refuses them.

        Raises:
            LtDetError: see `evaluate`.
        """
        self._tasks = parse_tasks(iou)
        chosen = parse_protocol(protocol)
        check_draws(draws, "draws")
        check_max_dets(max_dets, "max_dets")
        self._area_from, self._fields = area_from, fields_to_read(self._tasks, area_from)
        self._coco = COCO.with_max_dets(max_dets)
        if draws and chosen is not None and chosen.pooled:
            raise LtDetError("AP-Pool has no intervals; leave out the draws.")
        self._stats, train_categories = read_training_set(train)
        self._buckets, self._draws = buckets, draws
        self._dataset, self._image_root = dataset, image_root
        self._annotations: Annotations | None = None
        self._categories = categories_of_lists(
            [] if ground_truth is None else ground_truth, classes, self._stats, train_categories
        )
        if ground_truth is None:
            if chosen not in (None, COCO):
                raise LtDetError(
                    f"The {protocol} protocol needs an annotation file with LVIS's lists; pass it as ground_truth."
                )
        else:
            self._annotations = read_ground_truth(ground_truth, self._tasks, self._categories)
            chosen = chosen or default_protocol(self._annotations.name, self._annotations.data["images"])
            chosen = chosen.with_max_dets(max_dets)
            self._context = make_context(self._annotations, chosen, buckets, self._stats, self._tasks)
            self._sizes = self._annotations.image_sizes
            self._known_ids = set(self._context.ground_truth.image_ids.tolist())
        self.reset()

    def reset(self) -> None:
        """Discard all detections and, without an annotation file, all targets."""
        self._image_ids: list[Any] = []
        self._batches: list[_Batch] = []
        self._detections: dict[Task, list[Detections]] = {task: [] for task in self._tasks}
        self._unusual: dict[Task, Counter[str]] = {task: Counter() for task in self._tasks}
        self._first = FirstDetections()

    def update(self, preds: Any, target: Sequence[Mapping[str, Any]] | None = None) -> None:
        """Match the detections of some images.

        Args:
            preds: one dictionary per image (``boxes`` as x1, y1, x2, y2, ``labels``, ``scores``, and ``masks`` for
                "segm"), in the order of `target`. Without `target`, a mapping from image id to dictionary, or
                dictionaries with an ``image_id``.
            target: one dictionary per image (``boxes``, ``labels``, and ``masks`` for "segm"); images without an
                ``image_id`` are numbered in the order in which they arrive. None with an annotation file.

        Raises:
            LtDetError: see `evaluate`; also if an image occurs twice, or `target` is missing or not allowed.
        """
        if self._annotations is not None:
            if target is not None:
                raise LtDetError("The ground truth is that of the annotation file; leave target out.")
            self._update_from_file(preds)
        elif target is None:
            raise LtDetError("update needs the targets of the images; pass target, or ground_truth to the constructor.")
        else:
            self._update_with_targets(preds, target)

    def compute(self) -> EvaluationResult:
        """Evaluate all images so far. `update` can be called again afterwards.

        With an annotation file, images without `update` count as images without detections, with a warning.

        Raises:
            LtDetError: there are no images, or buckets or training set do not fit the classes.
        """
        if self._annotations is not None:
            context, annotations = self._context, self._annotations
            matched = {task: self._matched_with_file(task) for task in self._tasks}
            warn_of_missing_images(len(self._image_ids), len(self._known_ids), annotations.name, _IN_PART)
        elif self._batches:
            context, annotations, matched = self._joined()
        else:
            raise LtDetError("There are no images to evaluate; call update before compute.")
        for unusual in self._unusual.values():
            warn_of_unusual_detections(unusual)
        self._first.log_hints(context.ground_truth, "preds", ImageIds(annotations.data["images"]), class_indices=False)
        outcome: dict[Task, TaskResult] = {
            task: summarize_task(context, matches, errors=errors, draws=self._draws)
            for task, (matches, errors) in matched.items()
        }
        return make_result(
            context,
            outcome,
            annotations,
            self._stats,
            dataset=self._dataset,
            image_root=self._image_root,
            results_file=None,
            area_from=self._area_from,
        )

    def _update_from_file(self, preds: Any) -> None:
        predictions = with_image_ids(preds, None, "preds")
        ids = [image_id for image_id, _ in predictions]
        unknown = [image_id for image_id in ids if image_id not in self._known_ids]
        if unknown:
            raise LtDetError(f"preds: image {unknown[0]!r} is not in the ground truth; pass the ids of its images.")
        check_distinct([*self._image_ids, *ids], "preds")
        results = predictions_to_results(predictions, self._fields, self._sizes, "preds")
        arrays = self._arrays(results, self._context.ground_truth)
        self._image_ids += ids
        self._look_at(arrays, self._context.ground_truth)
        if self._context.protocol.per_class is not None:
            for task, detections in arrays.items():
                self._detections[task].append(detections)
        else:
            self._batches.append(_matched_batch(self._context, arrays))

    def _matched_with_file(self, task: Task) -> tuple[Matches, Errors | None]:
        context = self._context
        if not self._image_ids or self._detections[task]:
            nothing = self._arrays(Results.from_list([], self._fields), context.ground_truth)[task]
            detections = Detections.concatenate(self._detections[task] or [nothing])
            warn_of_empty_images(detections, context.ground_truth)
            return match_task(context, detections, task)
        return _concatenate([(batch.matches[task], batch.errors[task]) for batch in self._batches])

    def _update_with_targets(self, preds: Any, target: Sequence[Mapping[str, Any]]) -> None:
        first = len(self._image_ids)
        ids = own_image_ids(target, "target") or list(range(first, first + len(target)))
        check_distinct([*self._image_ids, *ids], "target")
        predictions = with_image_ids(preds, ids, "preds")
        if foreign := {image_id for image_id, _ in predictions} - set(ids):
            raise LtDetError(f"preds: image {next(iter(foreign))!r} is not in target; pass the ids of its images.")
        data = targets_to_coco(target, ids, self._tasks, "target")
        sizes = Annotations(data, "target").image_sizes
        results = predictions_to_results(predictions, self._fields, sizes, "preds")
        true_labels = {category["id"] for category in data["categories"]}
        labels = true_labels | set(results.category_ids.tolist())
        if self._categories is not None:
            check_labels(true_labels, self._categories, "target")
            check_labels(labels, self._categories, "preds")
        truth = GroundTruth.from_json(data, sorted(labels))
        arrays = self._arrays(results, truth)
        self._image_ids += ids
        self._look_at(arrays, truth)
        self._batches.append(_matched_batch(EvaluationContext(truth, self._coco), arrays))

    def _arrays(self, results: Results, truth: GroundTruth) -> dict[Task, Detections]:
        return {task: Detections.from_results(results, truth, task, self._area_from) for task in self._tasks}

    def _look_at(self, arrays: Mapping[Task, Detections], truth: GroundTruth) -> None:
        if "bbox" in arrays:
            self._first.add(arrays["bbox"], truth)
        for task, detections in arrays.items():
            self._unusual[task] += count_unusual_detections(detections, truth, task)

    def _joined(self) -> tuple[EvaluationContext, Annotations, dict[Task, tuple[Matches, Errors | None]]]:
        """Join all batches, with images in ascending order of id and classes in ascending order of category id."""
        categories = self._categories
        if categories is None:
            labels = {label for batch in self._batches for label in batch.truth.category_ids.tolist()}
            categories = [{"id": label, "name": str(label)} for label in sorted(labels)]
        annotations = Annotations({"images": [], "annotations": [], "categories": categories}, "The ground truth")
        if self._stats is not None:
            self._stats.check_names(annotations.class_names, annotations.name)
        truth, images, objects = _join_truths([batch.truth for batch in self._batches], categories)
        context = EvaluationContext(truth, self._coco, make_buckets(self._buckets, self._stats, annotations.categories))
        warn_of_objects(context)
        matched = {}
        for task in self._tasks:
            parts = []
            for batch, image_index, object_index in zip(self._batches, images, objects, strict=True):
                class_index = np.searchsorted(truth.category_ids, batch.truth.category_ids)
                matches, errors = batch.matches[task], batch.errors[task]
                part = _renumbered(matches, image_index, class_index, object_index)
                parts.append((part, errors and _renumbered(errors, image_index, class_index, object_index)))
            matched[task] = _concatenate(parts)
        return context, annotations, matched


def _matched_batch(context: EvaluationContext, arrays: Mapping[Task, Detections]) -> _Batch:
    matched = {task: match_task(context, detections, task) for task, detections in arrays.items()}
    return _Batch(
        dataclasses.replace(context.ground_truth, segmentations=[]),
        {task: matches for task, (matches, _) in matched.items()},
        {task: errors for task, (_, errors) in matched.items()},
    )


def _concatenate(parts: Sequence[tuple[Matches, Errors | None]]) -> tuple[Matches, Errors | None]:
    errors = [errors for _, errors in parts if errors is not None]
    return Matches.concatenate([matches for matches, _ in parts]), Errors.concatenate(errors) if errors else None


def _join_truths(
    truths: Sequence[GroundTruth], categories: Sequence[Mapping[str, Any]]
) -> tuple[GroundTruth, list[Ints], list[Ints]]:
    """Join the ground truth of all parts; also return the new indices of the images and objects of each part."""
    category_ids = np.asarray([category["id"] for category in categories])
    image_ids = np.concatenate([truth.image_ids for truth in truths])
    image_order = np.argsort(image_ids, kind="stable")
    images = _new_indices(image_order, [len(truth.image_ids) for truth in truths])
    image_of_object = np.concatenate(
        [np.repeat(index, np.diff(truth.start)) for index, truth in zip(images, truths, strict=True)]
    )
    object_order = np.argsort(image_of_object, kind="stable")
    objects = _new_indices(object_order, [len(truth.classes) for truth in truths])

    def column(name: str) -> NDArray[Any]:
        return np.concatenate([getattr(truth, name) for truth in truths])[object_order]

    classes = np.concatenate([np.searchsorted(category_ids, truth.category_ids)[truth.classes] for truth in truths])
    no_lists = ClassLists.from_lists([[]] * len(image_ids))
    truth = GroundTruth(
        image_ids=image_ids[image_order],
        category_ids=category_ids,
        sizes=np.concatenate([truth.sizes for truth in truths])[image_order],
        start=np.searchsorted(image_of_object[object_order], np.arange(len(image_ids) + 1)).astype(np.int64),
        classes=classes[object_order],
        boxes=column("boxes"),
        areas=column("areas"),
        ignore=column("ignore"),
        crowd=column("crowd"),
        segmentations=[],
        negative=no_lists,
        not_exhaustive=no_lists,
    )
    return truth, images, objects


def _new_indices(order: Ints, lengths: Sequence[int]) -> list[Ints]:
    """Where the elements of each of several arrays of these lengths are once they are joined and sorted by `order`."""
    index = np.empty_like(order)
    index[order] = np.arange(len(order))
    offsets = np.cumsum([0, *lengths])
    return [index[start:stop] for start, stop in itertools.pairwise(offsets)]


_Part = TypeVar("_Part", Matches, Errors)


def _renumbered(part: _Part, images: Ints, classes: Ints, objects: Ints) -> _Part:
    """Replace the indices of images, classes and objects in matches or errors by the new ones."""
    return dataclasses.replace(
        part,
        images=images[part.images].astype(np.int32),
        classes=classes[part.classes].astype(np.int32),
        # -1 means no object; the extra last entry maps it to -1, even if there are no objects at all
        objects=np.append(objects, -1)[part.objects].astype(np.int32),
    )
