"""Example images of the rarest classes: ground truth and detections."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lt_det.evaluation.io.coco_results import Results
from lt_det.evaluation.protocols import Task
from lt_det.evaluation.schema import Evaluation, Numbers
from lt_det.io.annotations.coco_json import load_annotations
from lt_det.reporting.evaluated_results import evaluated_results
from lt_det.reporting.example_images import UNUSABLE, BoxKind, Example, draw_example, image_file, why_missing
from lt_det.reporting.overlays import score_words
from lt_det.terminal import count_of

_CLASSES = 3  # the best, and as many of the worst
_IMAGES = 2  # per class: the first by id, whatever was detected in them
_MAX_DETECTIONS = 3  # of the class in an image, the most confident ones
_IOU = 0.5


@dataclass(frozen=True)
class Examples:
    """The `best` and the `worst` classes of a bucket; `missing` says why there are none."""

    bucket: str = ""
    best: tuple[Example, ...] = ()
    worst: tuple[Example, ...] = ()
    missing: str = ""


def class_examples(evaluation: Evaluation, task: Task, folder: Path, outside_images: bool = False) -> Examples:
    """Images of the best and the worst classes of the rarest bucket that has any.

    Args:
        evaluation: see `lt_det.evaluation.schema`.
        task: its ``class_ap`` ranks the classes.
        folder: of the ``evaluation.json``; ``results`` is relative to it.
        outside_images: also embed images that are not in the image folder: ``file_name`` has ``..``, or is absolute.
    """
    json_file, image_root, results = evaluation.ground_truth, evaluation.image_root, evaluation.results
    if not json_file or not image_root or not results:
        absent = [key for key in ("ground_truth", "image_root", "results") if not getattr(evaluation, key)]
        return Examples(missing=f"No example images: the evaluation does not name its {' and '.join(absent)}.")
    bucket, best, worst = _extremes(evaluation, evaluation.tasks[task].class_ap)
    if not (best or worst):
        return Examples(missing="No example images: no class of a bucket has an AP.")
    try:
        truth = load_annotations(json_file)
        ids = [entry.id for entry in evaluation.classes]
        images_of = {index: _images_of(truth, ids[index]) for index in (*best, *worst)}
        wanted = {image["id"] for images in images_of.values() for image in images}
        detections = _detections(evaluated_results(evaluation, folder), wanted)
        true = defaultdict(list)
        for annotation in truth["annotations"]:
            if annotation["image_id"] in wanted:
                true[annotation["image_id"]].append(annotation)
        scene = _Scene(truth["categories"], true, detections)
        drawn = {}
        for index, images in images_of.items():
            files = [image_file(image_root, image, json_file, outside_images) for image in images]
            drawn[index] = [scene.draw(file, i, ids[index]) for file, i in zip(files, images, strict=True)]
    except UNUSABLE as error:
        return Examples(missing=why_missing(error))
    return Examples(
        bucket,
        tuple(example for index in best for example in drawn[index]),
        tuple(example for index in worst for example in drawn[index]),
    )


def _extremes(evaluation: Evaluation, class_ap: Numbers) -> tuple[str, list[int], list[int]]:
    """Bucket, and indices of its best and of its worst classes; none is in both, and none without AP is a best one."""
    for bucket in evaluation.buckets.names:
        scored = [
            (ap, -index)
            for index, (entry, ap) in enumerate(zip(evaluation.classes, class_ap, strict=True))
            if entry.bucket == bucket and ap is not None
        ]
        if scored:
            order = [-index for _, index in sorted(scored, reverse=True)]
            found = sum(ap > 0 for ap, _ in scored)
            best = order[: min(_CLASSES, (len(order) + 1) // 2, found)]
            return bucket, best, order[len(best) :][-_CLASSES:][::-1]
    return "", [], []


def _images_of(truth: dict[str, Any], category: Any) -> list[dict[str, Any]]:
    having = sorted({entry["image_id"] for entry in truth["annotations"] if entry["category_id"] == category})[:_IMAGES]
    images = {image["id"]: image for image in truth["images"]}
    return [images[number] for number in having]


def _detections(results: Results, wanted: set[int]) -> dict[int, list[dict[str, Any]]]:
    """The detections in these images, most confident first."""
    assert results.boxes is not None
    by_image = defaultdict(list)
    for index in [index for index, image_id in enumerate(results.image_ids.tolist()) if image_id in wanted]:
        detection = {"category_id": results.category_ids[index], "score": results.scores[index]}
        by_image[results.image_ids[index]].append(detection | {"bbox": results.boxes[index].tolist()})
    for detections in by_image.values():
        detections.sort(key=lambda detection: -detection["score"])
    return by_image


class _Scene:
    """Ground truth and detections of some images, by image id."""

    def __init__(
        self,
        categories: list[dict[str, Any]],
        true: dict[int, list[dict[str, Any]]],
        detections: dict[int, list[dict[str, Any]]],
    ) -> None:
        self.names = {category["id"]: category["name"] for category in categories}
        self.true, self.detections = true, detections

    def draw(self, file: Path, image: dict[str, Any], category: Any) -> Example:
        """One image with the boxes that concern one class."""
        objects = [entry["bbox"] for entry in self.true[image["id"]] if entry["category_id"] == category]
        detections = self.detections.get(image["id"], [])
        own = [d for d in detections if d["category_id"] == category]
        right = [d for d in own if any(_iou(box, d["bbox"]) >= _IOU for box in objects)]
        others: list[dict[str, Any]] = []  # what a missed object was detected as
        for box in objects:
            if not any(_iou(box, d["bbox"]) >= _IOU for d in right):
                near = [d for d in detections if d not in own and _iou(box, d["bbox"]) >= _IOU]
                others += [d for d in near[:1] if d not in others]
        elsewhere = [] if right or others else own[:1]
        right = right[:_MAX_DETECTIONS]
        outcomes = [f"detected with score {score_words(d['score'])}" for d in right]
        outcomes += [f"missed, but detected elsewhere with score {score_words(d['score'])}" for d in elsewhere]
        outcomes += [
            f"detected as {self.names.get(d['category_id'], '?')}, score {score_words(d['score'])}" for d in others
        ]
        caption = f"{count_of(len(objects), 'object')}; {', '.join(outcomes) or 'missed'}"
        boxes: list[tuple[list[float], BoxKind]] = [(box, "true") for box in objects]
        boxes += [(d["bbox"], "own") for d in right + elsewhere]
        boxes += [(d["bbox"], "other") for d in others]
        return draw_example(file, image, boxes, self.names[category], caption)


def _iou(a: list[float], b: list[float]) -> float:
    """Intersection over union of two boxes (x, y, width, height)."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / (a[2] * a[3] + b[2] * b[3] - width * height)
