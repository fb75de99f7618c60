"""Detectron2 evaluator: AP per class and per frequency bucket, for LVIS and any COCO-format set."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.evaluation.coco_evaluation import instances_to_coco_json
from detectron2.structures import BoxMode, Instances
from detectron2.utils import comm
from detectron2.utils.logger import log_every_n_seconds, log_first_n

from lt_det.config import asks_for_buckets, chosen_buckets
from lt_det.data.cache.record_cache import follows_json
from lt_det.data.class_counts import annotation_file, training_stats, training_stats_or_none
from lt_det.data.formats import annotations_of, reads_coco_json
from lt_det.data.registration import evaluation_format
from lt_det.errors import LtDetError
from lt_det.evaluation.federated import check_lists
from lt_det.evaluation.io.coco_results import Results
from lt_det.evaluation.io.results_writer import ResultFile
from lt_det.evaluation.matching.detections import Detections
from lt_det.evaluation.matching.ground_truth import GroundTruth
from lt_det.evaluation.matching.match import Matches, match
from lt_det.evaluation.metrics.bootstrap import check_draws
from lt_det.evaluation.metrics.bucket_ap import default_buckets
from lt_det.evaluation.metrics.tide import Errors, find_errors
from lt_det.evaluation.protocols import COCO, LVIS, Task
from lt_det.evaluation.schema import evaluation_record, write_record
from lt_det.evaluation.summarize import TaskResult, judge
from lt_det.io.coco_json import check_annotations
from lt_det.statistics.buckets import FrequencyBuckets
from lt_det.statistics.class_stats import ClassStats

logger = logging.getLogger(__name__)

DETECTIONS_NAME = "instances_predictions.json"
_TASKS: tuple[Task, ...] = ("bbox", "segm")
_MATCHED_TOGETHER = 64  # images; each call has its price


@dataclass(frozen=True)
class _Found:
    """What a process found in its images: matches and errors per task, and the number of detections."""

    matches: dict[Task, Matches]
    errors: dict[Task, Errors]
    number: int


class LongTailEvaluator(DatasetEvaluator):
    """AP, AP50, AP75, APs, APm, APl and the AP of each bucket, for boxes and, where predicted, masks."""

    def __init__(
        self,
        dataset_name: str,
        *,
        stats: ClassStats | None = None,
        buckets: FrequencyBuckets | None = None,
        output_dir: str | None = None,
        distributed: bool = True,
        draws: int = 0,
    ) -> None:
        """
        Args:
            dataset_name: registered set to judge on.
            stats: counts of the TRAINING set, for the report; None if they are not known.
            buckets: of the training set's classes. None: those that the json's ``frequency`` field names, or LVIS's
                edges over `stats`.
            output_dir: where ``evaluation.json`` (for `lt-det report`) and the detections are written; None: nowhere.
            distributed: gather the detections of all processes.
            draws: of the bootstrap over images, for 95 % intervals in the report; 0: none.

        Raises:
            LtDetError: no annotation file, mistakes in it, or a set registered as LVIS's without its lists; other
                classes than in `stats`, classes in an unknown order, or too few or many draws.
        """
        json_file = annotation_file(dataset_name)
        if json_file is None:
            raise LtDetError(f"'{dataset_name}' has no annotation json to judge on; register it with register_dataset.")
        data = annotations_of(dataset_name)
        categories = _in_class_order(data["categories"], dataset_name)
        self._protocol = LVIS if evaluation_format(dataset_name) == "lvis" else COCO
        if self._protocol.federated:
            check_lists(json_file, data["images"], self._protocol, f"register '{dataset_name}' as coco")
        self._truth = _ground_truth(data, categories, json_file)
        self._image_index = {image_id: i for i, image_id in enumerate(self._truth.image_ids.tolist())}
        self._outlined = any(annotation.get("segmentation") for annotation in data["annotations"])
        self._category_ids = [category["id"] for category in categories]
        self._names = [str(category["name"]) for category in categories]
        if stats is not None:
            stats.check_names(self._names, str(json_file))
        if buckets is None:
            buckets = default_buckets(categories, stats)
        check_draws(draws, "TEST.RESAMPLES")
        self._stats, self.buckets, self._draws = stats, buckets, draws
        self._json_file = str(json_file)
        metadata = MetadataCatalog.get(dataset_name)
        self._image_root = metadata.get("image_root")
        self._dataset_name = dataset_name
        self._output_dir = Path(output_dir) if output_dir else None
        self._distributed = distributed
        self.reset()

    @classmethod
    def from_config(cls, cfg: Any, dataset_name: str, output_dir: str | None = None) -> LongTailEvaluator:
        """An evaluator with the training set and the buckets of a config.

        Args:
            cfg: with lt_det's keys; on a machine without its training set the json's own buckets are used, unless
                TEST.BUCKETS asks for others.
            dataset_name: registered set to judge on.
            output_dir: default: ``OUTPUT_DIR/inference/<dataset_name>``, where `lt-det report` looks.

        Raises:
            LtDetError: see the constructor; also buckets that do not fit the classes, or that need counts which are not
                known.
        """
        counts = training_stats if asks_for_buckets(cfg) else training_stats_or_none
        stats = counts(cfg.DATASETS.TRAIN, class_stats=cfg.MODEL.LONG_TAIL.CLASS_STATS, cache_dir=cfg.OUTPUT_DIR)
        return cls(
            dataset_name,
            stats=stats,
            buckets=None if stats is None else chosen_buckets(cfg, stats),
            output_dir=output_dir or os.path.join(cfg.OUTPUT_DIR, "inference", dataset_name),
            draws=cfg.TEST.RESAMPLES,
        )

    def reset(self) -> None:
        # Of nothing, so that a model that finds nothing has an AP too.
        self._matches: dict[Task, list[Matches]] = {}
        self._errors: dict[Task, list[Errors]] = {}
        self._keep("bbox", Detections.from_results(Results.from_list([], ["bbox"]), self._truth, "bbox"))
        self._pending: list[Detections] = []
        self._num_found = 0
        self._results = ResultFile(self._output_dir / DETECTIONS_NAME, comm.get_rank()) if self._output_dir else None

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        """Match the detections of some images; what is kept of each is a few bytes."""
        for image, output in zip(inputs, outputs, strict=True):
            instances = output["instances"].to("cpu")
            if instances.has("pred_keypoints"):
                log_first_n(logging.WARNING, "Keypoints are not judged here, but by Detectron2's COCOEvaluator.")
            detected = instances_to_coco_json(instances, image["image_id"])
            for detection in detected:
                detection["category_id"] = self._category_ids[detection["category_id"]]
            self._num_found += len(detected)
            self._pending.append(self._as_arrays(instances, image["image_id"], detected))
            if self._results is not None:
                self._results.write(detected)
            if len(self._pending) == _MATCHED_TOGETHER:
                self._match_pending()

    def evaluate(self) -> dict[str, dict[str, float]] | None:
        """Metrics in percent per task on the main process, None on the others. A bucket without classes is nan."""
        self._match_pending()
        if self._results is not None:
            self._results.close()
        mine = _Found(
            {task: Matches.concatenate(parts) for task, parts in self._matches.items()},
            {task: Errors.concatenate(parts) for task, parts in self._errors.items()},
            self._num_found,
        )
        if self._distributed and comm.get_world_size() > 1:
            comm.synchronize()
            gathered = comm.gather(mine, dst=0)
            metrics = self._judge(dict(enumerate(gathered))) if comm.is_main_process() else None
            comm.synchronize()  # until the parts are joined
        else:
            metrics = self._judge({comm.get_rank(): mine})
        if self._results is not None:
            self._results.remove_part()
            self._results = None
        return metrics

    def _match_pending(self) -> None:
        if not self._pending:
            return
        detections, self._pending = Detections.concatenate(self._pending), []
        for task in _TASKS if detections.masks is not None and self._outlined else _TASKS[:1]:
            self._keep(task, detections)

    def _keep(self, task: Task, detections: Detections) -> None:
        if self._output_dir:  # errors are for the report
            matches, errors = find_errors(self._truth, detections, task, self._protocol)
            self._errors.setdefault(task, []).append(errors)
        else:
            matches = match(self._truth, detections, task, self._protocol)
        self._matches.setdefault(task, []).append(matches)

    def _judge(self, gathered: dict[int, _Found]) -> dict[str, dict[str, float]]:
        """Metrics from what each rank found."""
        results: dict[Task, TaskResult] = {}
        for task in _TASKS:
            parts = [found.matches[task] for found in gathered.values() if task in found.matches]
            errors = [found.errors[task] for found in gathered.values() if task in found.errors]
            if parts:
                results[task] = judge(
                    self._truth,
                    Matches.concatenate(parts),
                    self._protocol,
                    self.buckets,
                    errors=Errors.concatenate(errors) if self._output_dir else None,
                    draws=self._draws if self._output_dir else 0,
                    track=_logged,
                )
        if not any(found.number for found in gathered.values()):
            logger.warning("The model found nothing in %s: every AP is 0.", self._dataset_name)
        if self._results is not None:
            written = self._results.join(gathered)
            lost = [rank for rank, found in gathered.items() if found.number and rank not in written]
            if lost:
                logger.warning(
                    "%s lacks the detections of processes %s, which wrote to another disk; the metrics have them.",
                    DETECTIONS_NAME,
                    ", ".join(map(str, lost)),
                )
            self._write(results)
        return {task: result.summary.metrics for task, result in results.items()}

    def _as_arrays(self, instances: Instances, image_id: Any, detected: list[dict[str, Any]]) -> Detections:
        boxes = instances.pred_boxes.tensor.numpy()
        return Detections(
            np.full(len(instances), self._image_index[image_id]),
            instances.pred_classes.numpy().astype(np.int64),
            instances.scores.numpy().astype(np.float64),
            BoxMode.convert(boxes, BoxMode.XYXY_ABS, BoxMode.XYWH_ABS).astype(np.float64),
            [detection["segmentation"] for detection in detected] if instances.has("pred_masks") else None,
        )

    def _write(self, results: dict[Task, TaskResult]) -> None:
        assert self._output_dir is not None
        content = evaluation_record(
            self._dataset_name,
            self._protocol,
            self._truth,
            self._names,
            self.buckets,
            self._stats,
            results,
            ground_truth=os.path.abspath(self._json_file) if reads_coco_json(self._dataset_name) else None,
            image_root=None if self._image_root is None else os.path.abspath(self._image_root),
            detections=DETECTIONS_NAME,
        )
        write_record(content, self._output_dir)


def _ground_truth(data: dict[str, Any], categories: list[dict[str, Any]], json_file: Path) -> GroundTruth:
    """The classes in this order. Detectron2's own loader passes over mistakes that lt_det's has told by now."""
    try:
        return GroundTruth.from_json(data, [category["id"] for category in categories])
    except (LookupError, TypeError, ValueError):
        check_annotations(data, json_file)  # which says where
        raise


def _in_class_order(categories: list[dict[str, Any]], dataset_name: str) -> list[dict[str, Any]]:
    """A json's categories in the order of the classes: by rising id, or as a user's own function has them."""
    by_id = sorted(categories, key=lambda category: category["id"])
    if follows_json(dataset_name):
        return by_id
    metadata = MetadataCatalog.get(dataset_name)
    class_of = metadata.get("thing_dataset_id_to_contiguous_id")
    if class_of is None:
        names, said = [category["name"] for category in by_id], metadata.get("thing_classes", ())
        if list(said) == names or set(said) != set(names):  # LVIS's own metadata have other words
            return by_id
    elif sorted(class_of.get(category["id"], -1) for category in by_id) == list(range(len(by_id))):
        return sorted(by_id, key=lambda category: class_of[category["id"]])
    raise LtDetError(
        f"The metadata of '{dataset_name}' do not say which category of {metadata.json_file} is which class; set "
        f"thing_dataset_id_to_contiguous_id to the class, 0 to {len(by_id) - 1}, of each category id."
    )


def _logged(draws: Iterable[int]) -> Iterator[int]:
    """The draws, with a line in the log from time to time."""
    total, start = len(list(draws)), time.monotonic()
    for draw in range(total):
        yield draw
        if draw + 1 < total:
            left = (time.monotonic() - start) / (draw + 1) * (total - draw - 1)
            log_every_n_seconds(logging.INFO, f"Intervals: {draw + 1} of {total} draws, {left:.0f} s left.", n=20)
