"""`evaluate`: AP per frequency bucket from files, COCO dictionaries or arrays, without a model or Detectron2."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral
from typing import Any

from lt_det.errors import LtDetError
from lt_det.evaluation.checks import (
    check_segmentations,
    count_unusual_detections,
    warn_of_empty_images,
    warn_of_missing_buckets,
    warn_of_objects,
    warn_of_one_bucket,
    warn_of_own_counts,
    warn_of_unused_counts,
    warn_of_unusual_detections,
)
from lt_det.evaluation.context import EvaluationContext
from lt_det.evaluation.hints.image_id_readings import ImageIds
from lt_det.evaluation.hints.masks import mask_hints
from lt_det.evaluation.hints.results import check_empty_boxes, check_mask_sizes, result_hints
from lt_det.evaluation.io.coco_results import Results, load_results
from lt_det.evaluation.io.federated_lists import check_lists, default_protocol
from lt_det.evaluation.io.ground_truth_input import Annotations, check_labels, read_ground_truth, read_training_set
from lt_det.evaluation.io.per_image import is_per_image, predictions_to_results, with_image_ids
from lt_det.evaluation.io.result_fields import check_pixels
from lt_det.evaluation.matching.detections import Detections
from lt_det.evaluation.matching.ground_truth import GroundTruth
from lt_det.evaluation.matching.match import Matches, match
from lt_det.evaluation.metrics.bootstrap import check_draws
from lt_det.evaluation.metrics.tide import Errors, find_errors
from lt_det.evaluation.progress import Track
from lt_det.evaluation.protocols import PROTOCOLS, AreaFrom, Protocol, Task, check_max_dets
from lt_det.evaluation.result import EvaluationResult
from lt_det.evaluation.task_results import TaskResult, build_evaluation, summarize_task
from lt_det.statistics.buckets import BucketOptions, FrequencyBuckets, resolve_buckets
from lt_det.statistics.class_stats import ClassStats
from lt_det.terminal import count_of

logger = logging.getLogger(__name__)

IN_MEMORY = "in_memory"  # name of a dataset that has no file

AnyBuckets = FrequencyBuckets | BucketOptions | Sequence[int] | Mapping[str, str] | None


def evaluate(
    ground_truth: Any,
    detections: Any,
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
    track: Callable[[str], Track] = lambda step: iter,
) -> EvaluationResult:
    """Compute AP per class and per frequency bucket.

    Labels are category ids in every input, never shifted class indices.

    Args:
        ground_truth: path of a COCO- or LVIS-format json, its content, or a list with one dictionary per image
            (``boxes`` as x1, y1, x2, y2, ``labels``, and ``masks`` for "segm"; see `lt_det.evaluation.io.per_image`).
        detections: path of COCO results, a list of COCO results, or one dictionary per image (``boxes``, ``labels``,
            ``scores``, and ``masks`` for "segm"): a mapping from image id to dictionary, a list whose dictionaries
            have an ``image_id``, or, if the ground truth is a list, a list in the same order.
        train: the TRAINING set: path of its json or of saved counts, the content of its json, or `ClassStats`. Its
            counts define the buckets that `buckets` asks for by edges or groups, and the default buckets, unless every
            category of the ground truth has LVIS's ``frequency``, which takes precedence. None: counts are unknown.
        protocol: "lvis", "coco", "fixed" or "pool", see `lt_det.evaluation.protocols`. None for "lvis" if the ground
            truth has LVIS's lists (``neg_category_ids``), else "coco".
        buckets: `FrequencyBuckets`, `BucketOptions`, inclusive upper edges such as [10, 100], or a mapping from class
            name to bucket name; None for the default of `resolve_buckets`.
        iou: "bbox" for boxes, "segm" for masks, or both.
        draws: number of bootstrap draws for 95 % intervals, 100 to 100 000; 0 for no intervals.
        max_dets: how many detections count, for dense scenes, instead of the protocol's limit per image ("lvis"), per
            image and class ("coco") or per class ("fixed", "pool"). Such numbers cannot be compared with published
            ones, nor with any others under another limit; every table names the limit. None for the protocol's own.
        area_from: whether the small, medium and large detections of "segm" go by the area of their "mask", as in
            Detectron2, or of their "box", as in `lvis` and `pycocotools` where results have both; "box" needs both.
        classes: class names by category id, if the ground truth is a list; None for the categories of `train`, or, if
            there is no `train`, the labels that occur in ground truth and detections.
        dataset: name of the dataset; None for the name of the ground truth's file.
        image_root: folder of the images, for the examples of `lt-det report`.
        track: returns, for the name of a step, a wrapper of its loop that shows the progress.

    Returns:
        Metrics in percent, per class and per bucket.

    Raises:
        LtDetError: an input cannot be read, is invalid, or does not fit the others.
    """
    tasks = parse_tasks(iou)
    chosen = parse_protocol(protocol)
    check_draws(draws, "draws")
    check_max_dets(max_dets, "max_dets")
    fields = fields_to_read(tasks, area_from)
    if draws and chosen is not None and chosen.pooled:
        raise LtDetError("AP-Pool has no intervals; leave out the draws.")
    stats, train_categories = read_training_set(train)
    listed = categories_of_lists(ground_truth, classes, stats, train_categories)
    for _ in track("Reading the ground truth")(range(1)):
        annotations = read_ground_truth(ground_truth, tasks, listed)
    results = read_detections(detections, annotations, fields, track("Reading the results"))
    if results.boxes is not None:
        check_pixels(results.boxes, results.source)
    if annotations.ordered_ids is not None:
        add_categories(annotations, results, listed)
    chosen = chosen or default_protocol(annotations.name, annotations.data["images"])
    context = make_context(annotations, chosen.with_max_dets(max_dets), buckets, stats, tasks)
    if buckets_need_counts(buckets, annotations.categories):
        warn_of_own_counts(ground_truth, train)
    images, names = ImageIds(annotations.data["images"]), annotations.class_names
    outcome: dict[Task, TaskResult] = {}
    for task in tasks:
        arrays = Detections.from_results(results, context.ground_truth, task, area_from, images, names)
        check_format(arrays, results, context.ground_truth, task, images)
        warn_of_unusual_detections(count_unusual_detections(arrays, context.ground_truth, task))
        if task == tasks[0]:
            warn_of_empty_images(arrays, context.ground_truth)
        matches, errors = match_task(context, arrays, task, track(f"Matching {task}"))
        resampling = track(f"Resampling {task} for the intervals")
        outcome[task] = summarize_task(context, matches, errors=errors, draws=draws, track=resampling)
    return make_result(
        context,
        outcome,
        annotations,
        stats,
        dataset=dataset,
        image_root=image_root,
        results_file=detections if isinstance(detections, str | os.PathLike) else None,
        area_from=area_from,
    )


def check_format(detections: Detections, results: Results, truth: GroundTruth, task: Task, images: ImageIds) -> None:
    """Log what looks like another convention than that of `results`.

    Raises:
        LtDetError: 10 % or more of the detections match nothing, because of their format.
    """
    if task == "segm":
        check_mask_sizes(detections, truth, results.source)
        hints = mask_hints(detections, truth, masks_only=results.boxes is None, images=images)
    else:
        hints = result_hints(detections, truth, results.written_as, images=images)
        check_empty_boxes(detections, results.written_as, results.source, hints)
    for hint in hints:
        logger.warning("%s: %s", results.source, hint)


def parse_tasks(iou: str | Sequence[str], key: str = "iou") -> list[Task]:
    """Parse the names of tasks.

    Args:
        iou: names of tasks, as a sequence or separated by commas.
        key: name of the option, for the error message.

    Raises:
        LtDetError: a task is unknown or occurs twice, or there are no tasks.
    """
    names: list[Any] = iou.split(",") if isinstance(iou, str) else list(iou) if isinstance(iou, Iterable) else []
    if not names or not set(names) <= {"bbox", "segm"} or len(set(names)) < len(names):
        raise LtDetError(f"{key} is {iou}; write bbox, segm or bbox,segm.")
    return names


def fields_to_read(tasks: Sequence[Task], area_from: str, key: str = "area_from") -> list[Task]:
    """The tasks whose fields detections need: masks need boxes, too, where these give their areas.

    Args:
        tasks: to evaluate.
        area_from: "mask" or "box".
        key: name of the option, for the error message.

    Raises:
        LtDetError: `area_from` is something else, or is "box" where no masks are evaluated.
    """
    if area_from not in ("mask", "box"):
        raise LtDetError(f"{key} is {area_from!r}; write mask or box.")
    if area_from == "mask":
        return list(tasks)
    if "segm" not in tasks:
        raise LtDetError(f"{key} box is about the areas of masks, but only boxes are evaluated; leave it out.")
    return ["bbox", "segm"]


def parse_protocol(name: str | None) -> Protocol | None:
    """The protocol with this name; None for None.

    Raises:
        LtDetError: no protocol has this name.
    """
    if name is not None and name not in PROTOCOLS:
        raise LtDetError(f"protocol is {name!r}; write one of {', '.join(PROTOCOLS)}.")
    return None if name is None else PROTOCOLS[name]


def read_detections(detections: Any, annotations: Annotations, tasks: Sequence[Task], track: Track = iter) -> Results:
    """Convert detections in any form that `evaluate` accepts to columns.

    Raises:
        LtDetError: the detections cannot be read or assigned to images.
    """
    if isinstance(detections, str | os.PathLike):
        return load_results(detections, tasks, track)
    if isinstance(detections, Mapping) or is_per_image(detections):
        predictions = with_image_ids(detections, annotations.ordered_ids)
        return predictions_to_results(predictions, tasks, annotations.image_sizes)
    return Results.from_list(detections, tasks, "detections")


def categories_of_lists(
    ground_truth: Any,
    classes: Mapping[int, str] | None,
    stats: ClassStats | None,
    train_categories: Sequence[Mapping[str, Any]] | None,
) -> list[dict[str, Any]] | None:
    """The categories for a ground truth that is a list of images; None if they are the labels that occur.

    None, too, for a json, which lists its categories. It refuses `classes`: names that differ from its own would be
    ignored.

    Raises:
        LtDetError: `classes` is given although the ground truth has categories, or `stats` without category ids.
    """
    if isinstance(ground_truth, str | os.PathLike | Mapping | Annotations):
        if classes is not None:
            raise LtDetError(
                "classes names the categories of a list of images, but the ground truth is a json, which has its own; "
                "leave classes out."
            )
        return None
    if classes is not None:
        if not isinstance(classes, Mapping) or not all(isinstance(id_, Integral) for id_ in classes):
            raise LtDetError(
                "classes must be a mapping from category id, which is a whole number, to name, such as "
                "{3: 'cup', 7: 'fork'}."
            )
        return [{"id": id_, "name": name} for id_, name in sorted(classes.items())]
    if train_categories is not None:
        return [dict(category) for category in train_categories]
    if stats is not None:
        raise LtDetError(
            f"{stats.source} has class names but no category ids; pass classes, a mapping from category id to name."
        )
    return None


def add_categories(annotations: Annotations, results: Results, listed: Sequence[Mapping[str, Any]] | None) -> None:
    """Check the labels of the detections against `listed`; if it is None, add new labels to the categories.

    Raises:
        LtDetError: a label is not in `listed`.
    """
    labels = set(results.category_ids.tolist())
    if listed is not None:
        check_labels(labels, listed, "detections")
        return
    categories = annotations.data["categories"]
    new = labels - {category["id"] for category in categories}
    categories += [{"id": label, "name": str(label)} for label in sorted(new)]


def make_context(
    annotations: Annotations,
    protocol: Protocol,
    buckets: AnyBuckets,
    stats: ClassStats | None,
    tasks: Sequence[Task],
) -> EvaluationContext:
    """Check that ground truth, protocol, tasks, buckets and training set fit together, and join them.

    Warns about classes that are in no bucket.

    Raises:
        LtDetError: the inputs do not fit together.
    """
    if protocol.federated:
        check_lists(annotations.name, annotations.data["images"], protocol, "evaluate it with the coco protocol")
    if "segm" in tasks and annotations.data["annotations"]:
        check_segmentations(annotations)
    if stats is not None:
        stats.check_names(annotations.class_names, annotations.name)
    made = make_buckets(buckets, stats, annotations.categories)
    if buckets is None:
        warn_of_unused_counts(annotations.categories, stats, annotations.name)
    if annotations.ordered_ids is None or buckets is not None or stats is not None:
        warn_of_missing_buckets(made, buckets is not None, annotations.name)
        warn_of_one_bucket(made, stats)
    context = EvaluationContext(GroundTruth.from_json(annotations.data), protocol, made)
    warn_of_objects(context)
    return context


def make_buckets(
    buckets: AnyBuckets, stats: ClassStats | None, categories: Sequence[Mapping[str, Any]]
) -> FrequencyBuckets:
    """Convert buckets in any form that `evaluate` accepts.

    Raises:
        LtDetError: the buckets do not fit the classes, or need a training set.
    """
    if isinstance(buckets, FrequencyBuckets):
        if len(buckets.assignment) != len(categories):
            raise LtDetError(
                f"The buckets have {count_of(len(buckets.assignment), 'class')}, but the ground truth has "
                f"{len(categories)}."
            )
        return buckets
    if isinstance(buckets, Mapping):
        buckets = BucketOptions(bucket_map=buckets)
    elif buckets is not None and not isinstance(buckets, BucketOptions):
        buckets = BucketOptions(edges=list(buckets))
    return resolve_buckets(buckets, stats, categories)


def buckets_need_counts(buckets: AnyBuckets, categories: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the counts of a training set, if one is given, define the buckets; see `resolve_buckets`."""
    if buckets is None:
        return not all(category.get("frequency") for category in categories)
    if isinstance(buckets, BucketOptions):
        return buckets.bucket_map is None
    return not isinstance(buckets, FrequencyBuckets | Mapping)


def match_task(
    context: EvaluationContext, detections: Detections, task: Task, track: Track = iter
) -> tuple[Matches, Errors | None]:
    """Match the detections. The errors are None if the protocol is pooled."""
    if context.protocol.pooled:
        return match(context, detections, task, track=track), None
    return find_errors(context, detections, task, track=track)


def make_result(
    context: EvaluationContext,
    outcome: Mapping[Task, TaskResult],
    annotations: Annotations,
    stats: ClassStats | None,
    *,
    dataset: str | None,
    image_root: str | os.PathLike[str] | None,
    results_file: str | os.PathLike[str] | None,
    area_from: AreaFrom = "mask",
) -> EvaluationResult:
    """Add names and absolute paths to the outcome of each task."""
    path = annotations.path
    evaluation = build_evaluation(
        context,
        outcome,
        dataset=dataset or (IN_MEMORY if path is None else path.stem),
        class_names=annotations.class_names,
        stats=stats,
        area_from=area_from,
        ground_truth=None if path is None else os.path.abspath(path),
        image_root=None if image_root is None else os.path.abspath(image_root),
        detections=None if results_file is None else os.path.abspath(results_file),
    )
    return EvaluationResult(evaluation, context.buckets)
