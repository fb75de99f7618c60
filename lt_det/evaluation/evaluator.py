"""Detectron2 evaluator: AP per class and per frequency bucket, on LVIS and on any COCO-format dataset."""

from __future__ import annotations

import contextlib
import copy
import logging
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.evaluation.coco_evaluation import instances_to_coco_json
from detectron2.structures import BoxMode, Instances
from detectron2.utils import comm
from detectron2.utils.logger import log_every_n_seconds, log_first_n
from numpy.typing import NDArray

from lt_det.config import bucket_options
from lt_det.data.class_counts import annotation_file, training_stats, training_stats_or_none
from lt_det.data.class_order import in_class_order
from lt_det.data.formats import annotations_of, reads_coco_json
from lt_det.data.registration import evaluation_format
from lt_det.errors import LtDetError
from lt_det.evaluation import checks
from lt_det.evaluation.context import EvaluationContext
from lt_det.evaluation.hints.first_detections import FirstDetections
from lt_det.evaluation.hints.image_id_readings import ImageIds
from lt_det.evaluation.io.coco_results import Results
from lt_det.evaluation.io.federated_lists import check_lists
from lt_det.evaluation.io.model_outputs import ModelOutputs
from lt_det.evaluation.io.results_writer import ResultFile
from lt_det.evaluation.matching.detections import Detections
from lt_det.evaluation.matching.ground_truth import GroundTruth
from lt_det.evaluation.matching.match import Matches, match
from lt_det.evaluation.matching.processed_images import PartialResult, ProcessedImages, each_image_once
from lt_det.evaluation.metrics.bootstrap import check_draws
from lt_det.evaluation.metrics.tide import Errors, find_errors
from lt_det.evaluation.protocols import COCO, LVIS, Task, check_max_dets
from lt_det.evaluation.result import EvaluationResult
from lt_det.evaluation.schema import Evaluation, write_evaluation
from lt_det.evaluation.task_results import TaskResult, build_evaluation, summarize_task
from lt_det.io.annotations.checks import check_annotations
from lt_det.statistics.buckets import BucketOptions, FrequencyBuckets, resolve_buckets
from lt_det.statistics.class_stats import ClassStats

logger = logging.getLogger(__name__)

DETECTIONS_NAME = "instances_predictions.json"
_TASKS: tuple[Task, ...] = ("bbox", "segm")
_IMAGES_PER_CALL = 64  # matching has a cost per call


class LongTailEvaluator(DatasetEvaluator):  # type: ignore[misc]
    """Computes AP per class and per frequency bucket, for boxes and, if the model predicts them, for masks.

    The protocol is "lvis" for a set that is registered as LVIS, else "coco". Each process matches its own images.

    Attributes:
        warns_of_keypoints: False where another evaluator evaluates them.
    """

    warns_of_keypoints = True

    def __init__(
        self,
        dataset_name: str,
        *,
        stats: ClassStats | None = None,
        buckets: FrequencyBuckets | BucketOptions | None = None,
        output_dir: str | None = None,
        distributed: bool = True,
        draws: int = 0,
        max_dets: int | None = None,
    ) -> None:
        """
        Args:
            dataset_name: registered set to evaluate on.
            stats: class counts of the TRAINING set, for buckets and report; None if they are not known.
            buckets: the buckets of the classes, or the options that define them; None for the default of
                `resolve_buckets`.
            output_dir: folder for ``evaluation.json``, which `lt-det report` reads, and the detections; None to write
                no files and to leave out error analysis and intervals.
            distributed: whether to gather the results of all processes.
            draws: number of bootstrap draws over images for 95 % intervals in the report, 100 to 100 000; 0 for none.
            max_dets: how many detections count instead of the protocol's limit, see `evaluate`; None for its own.

        Raises:
            LtDetError: the set has no annotations, or they have mistakes; the set is registered as LVIS and has
                none of LVIS's lists; its classes differ from those of `stats`, or their order is unknown; the buckets
                do not fit the classes; or there are too few or too many draws.
        """
        json_file = annotation_file(dataset_name)
        source = f"'{dataset_name}'" if json_file is None else str(json_file)
        data = annotations_of(dataset_name)
        categories = in_class_order(data["categories"], dataset_name)
        protocol = LVIS if evaluation_format(dataset_name) == "lvis" else COCO
        if protocol.federated:
            check_lists(source, data["images"], protocol, f"register '{dataset_name}' as coco")
        # Detectron2's own loaders ignore some mistakes; what they skip in many records, evaluation can skip, too.
        check_annotations(data, source, accept_many=True)
        truth = GroundTruth.from_json(data, [category["id"] for category in categories])
        self._image_index = {image_id: i for i, image_id in enumerate(truth.image_ids.tolist())}
        self._images = ImageIds(data["images"])
        self._has_masks = any(annotation.get("segmentation") for annotation in data["annotations"])
        self._category_ids = [category["id"] for category in categories]
        self._names = [str(category["name"]) for category in categories]
        if stats is not None:
            stats.check_names(self._names, source)
        if buckets is None:
            checks.warn_of_unused_counts(categories, stats, source)
        if not isinstance(buckets, FrequencyBuckets):
            buckets = resolve_buckets(buckets, stats, categories)
        checks.warn_of_one_bucket(buckets, stats)
        check_max_dets(max_dets, "TEST.MAX_DETS")
        self.context = EvaluationContext(truth, protocol.with_max_dets(max_dets), buckets)
        checks.warn_of_objects(self.context)
        check_draws(draws, "TEST.RESAMPLES")
        self._stats, self._draws = stats, draws
        is_json = json_file is not None and reads_coco_json(dataset_name)
        self._json_file = os.path.abspath(source) if is_json else None
        metadata = MetadataCatalog.get(dataset_name)
        self._image_root = metadata.get("image_root")
        self._dataset_name = dataset_name
        self._output_dir = Path(output_dir) if output_dir else None
        self.needs_files = True  # else a full disk is a warning
        self._distributed = distributed
        self.reset()

    @classmethod
    def from_config(cls, cfg: Any, dataset_name: str, output_dir: str | None = None) -> LongTailEvaluator:
        """An evaluator with the training set and the buckets of a config.

        Args:
            cfg: a config with lt_det's keys. On a machine without the training set, the ``frequency`` field of the json
                defines the buckets, unless TEST.BUCKETS is set.
            dataset_name: registered set to evaluate on.
            output_dir: None for ``OUTPUT_DIR/inference/<dataset_name>``, which `lt-det report` reads.

        Raises:
            LtDetError: see `LongTailEvaluator`; also if TEST.BUCKETS needs counts that are not known.
        """
        buckets = bucket_options(cfg)
        counts = training_stats_or_none if buckets is None else training_stats
        stats = counts(cfg.DATASETS.TRAIN, class_stats=cfg.MODEL.LONG_TAIL.CLASS_STATS, cache_dir=cfg.OUTPUT_DIR)
        evaluator = cls(
            dataset_name,
            stats=stats,
            buckets=buckets,
            output_dir=output_dir or os.path.join(cfg.OUTPUT_DIR, "inference", dataset_name),
            draws=cfg.TEST.RESAMPLES,
            max_dets=cfg.TEST.MAX_DETS,
        )
        checks.warn_of_full_images(evaluator.context, cfg.TEST.DETECTIONS_PER_IMAGE)
        return evaluator

    @property
    def buckets(self) -> FrequencyBuckets:
        """The buckets of the classes."""
        return self.context.buckets

    def of_images(self, image_ids: Iterable[Any]) -> LongTailEvaluator:
        """An evaluator of some images of the dataset, with the ground truth of this one.

        It works in this process alone and writes no files.

        Raises:
            LtDetError: an image is not in the dataset.
        """
        part = copy.copy(self)
        part._output_dir, part._distributed = None, False
        index = np.unique(self.image_indices(image_ids))
        truth = self.context.ground_truth.of_images(index)
        part.context = EvaluationContext(truth, self.context.protocol, self.context.buckets)
        part._image_index = {image_id: i for i, image_id in enumerate(truth.image_ids.tolist())}
        part.reset()
        return part

    def image_indices(self, image_ids: Iterable[Any]) -> NDArray[np.int64]:
        """The indices of images in the ground truth.

        Raises:
            LtDetError: an image is not in the dataset.
        """
        ids = list(image_ids)
        unknown = [image_id for image_id in ids if image_id not in self._image_index]
        if unknown:
            raise LtDetError(
                f"{len(unknown)} of {len(ids)} images are not in '{self._dataset_name}', the first has the id "
                f"{unknown[0]!r}; evaluate detections on the dataset that they were predicted for."
            )
        return np.asarray([self._image_index[image_id] for image_id in ids], dtype=np.int64)

    def evaluate_boxes(self, detections: Detections) -> EvaluationResult:
        """The box metrics of detections that are arrays, in this process and without files.

        Args:
            detections: in any order; ties of scores are broken by it. Images are given by their `image_indices`.

        Returns:
            The metrics that `process` and `evaluate` give, and intervals if the evaluator has draws.
        """
        matches = match(self.context, detections, "bbox")
        result = summarize_task(self.context, matches, draws=self._draws, track=_log_progress)
        return EvaluationResult(self._evaluation({"bbox": result}, None), self.buckets)

    def reset(self) -> None:
        """Discard all detections."""
        self._matches: dict[Task, list[Matches]] = {}
        self._errors: dict[Task, list[Errors]] = {}
        # Start with no detections, so that a model that detects nothing has an AP, too.
        self._match("bbox", Detections.from_results(Results.from_list([], ["bbox"]), self.context.ground_truth, "bbox"))
        self._pending: list[Detections] = []
        self._outputs, self._processed = ModelOutputs(self._has_masks), ProcessedImages()
        self._first = FirstDetections()
        self._num_detections = 0
        self.lost_files = False  # to a full disk
        self._results = ResultFile(self._output_dir / DETECTIONS_NAME, comm.get_rank()) if self._output_dir else None

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        """Match the detections of some images, and keep a few bytes of each detection.

        Args:
            inputs: records with an ``image_id``.
            outputs: one dictionary per record, with ``instances`` as Detectron2's models return them.

        Raises:
            LtDetError: an image is not in the dataset; see also `ModelOutputs` and `check_predictions`.
        """
        truth = self.context.ground_truth
        for image, output in zip(inputs, outputs, strict=True):
            (index,) = self.image_indices([image.get("image_id")]).tolist()
            instances = self._outputs.instances(output, image["image_id"], tuple(truth.sizes[index].tolist()))
            if self.warns_of_keypoints and instances.has("pred_keypoints"):
                log_first_n(
                    logging.WARNING, "LongTailEvaluator ignores keypoints; Detectron2's COCOEvaluator evaluates them."
                )
            found = boxes_as_arrays(instances, index)
            checks.check_predictions(found, truth)
            if len(self._pending) >= _IMAGES_PER_CALL and index not in self._pending[-1].images:
                self._match_pending()
            if not self._processed.is_new(index, image["image_id"], found):
                continue
            detected = instances_to_coco_json(instances, image["image_id"])
            for detection in detected:
                detection["category_id"] = self._category_ids[detection["category_id"]]
            self._num_detections += len(detected)
            masks = [detection["segmentation"] for detection in detected] if instances.has("pred_masks") else None
            self._pending.append(replace(found, masks=masks))
            if self._results is not None:
                with self._writing():
                    self._results.write(detected)

    def evaluate(self) -> dict[str, dict[str, float]] | None:
        """Compute the metrics, and write the files.

        Returns:
            Metrics in percent by task and name on the main process, None on the others; nan for a bucket without
            classes.
        """
        self._match_pending()
        if self._results is not None:
            with self._writing():
                self._results.close()
        mine = PartialResult(
            {task: Matches.concatenate(parts) for task, parts in self._matches.items()},
            {task: Errors.concatenate(parts) for task, parts in self._errors.items()},
            self._num_detections,
            self._processed.images,
            len(self._processed.repeated),
        )
        if self._distributed and comm.get_world_size() > 1:
            comm.synchronize()
            gathered = comm.gather(mine, dst=0)
            metrics = self._summarize(dict(enumerate(gathered))) if comm.is_main_process() else None
            comm.synchronize()  # wait until the parts are joined
        else:
            metrics = self._summarize({comm.get_rank(): mine})
        if self._results is not None:
            self._results.remove_part()
            self._results = None
        return metrics

    def _match_pending(self) -> None:
        if not self._pending:
            return
        detections, self._pending = Detections.concatenate(self._pending), []
        self._processed.mark_matched()
        self._first.add(detections, self.context.ground_truth)
        for task in _TASKS if detections.masks is not None and self._has_masks else _TASKS[:1]:
            self._match(task, detections)

    def _match(self, task: Task, detections: Detections) -> None:
        if self._output_dir:  # the report shows the errors
            matches, errors = find_errors(self.context, detections, task)
            self._errors.setdefault(task, []).append(errors)
        else:
            matches = match(self.context, detections, task)
        self._matches.setdefault(task, []).append(matches)

    def _summarize(self, gathered: dict[int, PartialResult]) -> dict[str, dict[str, float]]:
        """Compute the metrics from the partial result of each rank."""
        gathered = each_image_once(gathered, self.context.num_images, self._dataset_name, DETECTIONS_NAME)
        results: dict[Task, TaskResult] = {}
        for task in _TASKS:
            parts = [found.matches[task] for found in gathered.values() if task in found.matches]
            errors = [found.errors[task] for found in gathered.values() if task in found.errors]
            if parts:
                results[task] = summarize_task(
                    self.context,
                    Matches.concatenate(parts),
                    errors=Errors.concatenate(errors) if self._output_dir else None,
                    draws=self._draws if self._output_dir else 0,
                    track=_log_progress,
                )
        if self.context.protocol.is_changed:
            logger.warning("These metrics of %s are %s.", self._dataset_name, self.context.protocol.rules)
        if not any(found.num_detections for found in gathered.values()):
            logger.warning("The model detected nothing in %s: every AP is 0.", self._dataset_name)
        source = f"The predictions for {self._dataset_name}"
        self._first.log_hints(self.context.ground_truth, source, self._images, class_indices=True)
        if self._results is not None:
            with self._writing():
                written = self._results.join(gathered)
                lost = [rank for rank, found in gathered.items() if found.num_detections and rank not in written]
                if lost:
                    logger.warning(
                        "%s lacks the detections of processes %s, which wrote to another disk; the metrics include "
                        "them.",
                        DETECTIONS_NAME,
                        ", ".join(map(str, lost)),
                    )
                assert self._output_dir is not None
                write_evaluation(self._evaluation(results, DETECTIONS_NAME), self._output_dir)
        return {task: result.summary.metrics for task, result in results.items()}

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Around what writes files: if `needs_files` is off, they are given up with a warning where it fails."""
        try:
            yield
        except LtDetError as error:
            if self.needs_files or not isinstance(error.__cause__, OSError):
                raise
            logger.warning("%s The metrics of this evaluation are logged, but not written to files.", error)
            if self._results is not None:
                self._results.discard()
            self._results, self.lost_files = None, True

    def _evaluation(self, results: dict[Task, TaskResult], detections: str | None) -> Evaluation:
        """
        Args:
            results: one per task.
            detections: name of the file of the detections; None without one.
        """
        return build_evaluation(
            self.context,
            results,
            dataset=self._dataset_name,
            class_names=self._names,
            stats=self._stats,
            ground_truth=self._json_file,
            image_root=None if self._image_root is None else os.path.abspath(self._image_root),
            detections=detections,
        )


def boxes_as_arrays(instances: Instances, image: int) -> Detections:
    """The boxes that a model predicts in one image, on the CPU.

    Args:
        instances: with ``pred_boxes``, ``scores`` and ``pred_classes``, in pixels of the image.
        image: its index in the ground truth.
    """
    boxes = instances.pred_boxes.tensor.numpy()
    return Detections(
        np.full(len(instances), image),
        instances.pred_classes.numpy().astype(np.int64),
        instances.scores.numpy().astype(np.float64),
        BoxMode.convert(boxes, BoxMode.XYXY_ABS, BoxMode.XYWH_ABS).astype(np.float64),
    )


def _log_progress(draws: Iterable[int]) -> Iterator[int]:
    """Yield the draws, and log the progress every 20 seconds."""
    total, start = len(list(draws)), time.monotonic()
    for draw in range(total):
        yield draw
        if draw + 1 < total:
            left = (time.monotonic() - start) / (draw + 1) * (total - draw - 1)
            log_every_n_seconds(logging.INFO, f"Intervals: {draw + 1} of {total} draws, {left:.0f} s left.", n=20)
