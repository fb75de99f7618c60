"""Pictures of the rarest classes: what is there, and what the detector says."""

from __future__ import annotations

import base64
import io
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from lt_det.errors import LtDetError
from lt_det.evaluation.io.coco_results import load_results
from lt_det.evaluation.protocols import Task
from lt_det.evaluation.schema import Evaluation, Numbers
from lt_det.io.coco_json import image_file_name, load_annotations
from lt_det.reporting.svg import svg, tag

_CLASSES = 3  # best, and as many worst
_IMAGES = 2  # of each class: the first by id, not picked by what was found
_SIZE = 320  # pixels of the longer side
_SHOWN = 3  # detections of the class in an image, the most confident
_OVERLAP = 0.5


@dataclass(frozen=True)
class Example:
    """A picture with its boxes as SVG, and what is on it in words."""

    name: str
    drawing: str
    caption: str


@dataclass(frozen=True)
class Examples:
    """`missing` says why there are none."""

    bucket: str = ""
    best: tuple[Example, ...] = ()
    worst: tuple[Example, ...] = ()
    missing: str = ""


def class_examples(evaluation: Evaluation, task: Task, folder: Path) -> Examples:
    """Images of the best and the worst classes of the rarest bucket that has any.

    Args:
        evaluation: see `lt_det.evaluation.schema`.
        task: its ``class_ap`` says what is best.
        folder: where that file lies; ``results`` is relative to it.
    """
    json_file, image_root, results = evaluation.ground_truth, evaluation.image_root, evaluation.results
    if not json_file or not image_root or not results:
        absent = [key for key in ("ground_truth", "image_root", "results") if not getattr(evaluation, key)]
        return Examples(missing=f"No example images: the evaluation does not name its {' and '.join(absent)}.")
    bucket, best, worst = _extremes(evaluation, evaluation.tasks[task].class_ap)
    if not best:
        return Examples(missing="No example images: no class of a bucket has an AP.")
    try:
        truth = load_annotations(json_file)
        ids = [entry.id for entry in evaluation.classes]
        picked = {index: _images_of(truth, ids[index]) for index in (*best, *worst)}
        wanted = {image["id"] for images in picked.values() for image in images}
        found = _detections(folder / results, wanted)
        true = defaultdict(list)
        for annotation in truth["annotations"]:
            if annotation["image_id"] in wanted:
                true[annotation["image_id"]].append(annotation)
        scene = _Scene(truth["categories"], true, found)
        drawn = {}
        for index, images in picked.items():
            files = [Path(image_root) / image_file_name(i, json_file) for i in images]
            drawn[index] = [scene.draw(file, i, ids[index]) for file, i in zip(files, images, strict=True)]
    except FileNotFoundError as error:
        return Examples(missing=f"No example images: {error.filename} does not exist.")
    except (OSError, ValueError, KeyError, TypeError, IndexError, Image.DecompressionBombError, LtDetError) as error:
        return Examples(missing=f"No example images: {error}")
    return Examples(
        bucket,
        tuple(example for index in best for example in drawn[index]),
        tuple(example for index in worst for example in drawn[index]),
    )


def _extremes(evaluation: Evaluation, class_ap: Numbers) -> tuple[str, list[int], list[int]]:
    """Places of the best and of the worst classes, each class once."""
    for bucket in evaluation.buckets.names:
        scored = [
            (ap, -index)
            for index, (entry, ap) in enumerate(zip(evaluation.classes, class_ap, strict=True))
            if entry.bucket == bucket and ap is not None
        ]
        if scored:
            order = [-index for _, index in sorted(scored, reverse=True)]
            best = order[: min(_CLASSES, (len(order) + 1) // 2)]
            return bucket, best, order[len(best) :][-_CLASSES:][::-1]
    return "", [], []


def _images_of(truth: dict[str, Any], category: Any) -> list[dict[str, Any]]:
    having = sorted({entry["image_id"] for entry in truth["annotations"] if entry["category_id"] == category})[:_IMAGES]
    images = {image["id"]: image for image in truth["images"]}
    return [images[number] for number in having]


def _detections(file: Path, wanted: set[int]) -> dict[int, list[dict[str, Any]]]:
    """The detections in these images, most confident first."""
    results = load_results(file, ["bbox"])
    assert results.boxes is not None
    found = defaultdict(list)
    for place in [place for place, image_id in enumerate(results.image_ids.tolist()) if image_id in wanted]:
        detection = {"category_id": results.category_ids[place], "score": results.scores[place]}
        found[results.image_ids[place]].append(detection | {"bbox": results.boxes[place].tolist()})
    for detections in found.values():
        detections.sort(key=lambda detection: -detection["score"])
    return found


class _Scene:
    """What is true and what was found in some images, by image id."""

    def __init__(
        self,
        categories: list[dict[str, Any]],
        true: dict[int, list[dict[str, Any]]],
        found: dict[int, list[dict[str, Any]]],
    ) -> None:
        self.names = {category["id"]: category["name"] for category in categories}
        self.true, self.found = true, found

    def draw(self, file: Path, image: dict[str, Any], category: Any) -> Example:
        """One image with the boxes that concern one class."""
        objects = [entry["bbox"] for entry in self.true[image["id"]] if entry["category_id"] == category]
        detections = self.found.get(image["id"], [])
        own = [d for d in detections if d["category_id"] == category]
        right = [d for d in own if any(_overlap(box, d["bbox"]) >= _OVERLAP for box in objects)]
        others: list[dict[str, Any]] = []  # what is said of an object that was not found as what it is
        for box in objects:
            if not any(_overlap(box, d["bbox"]) >= _OVERLAP for d in right):
                near = [d for d in detections if d not in own and _overlap(box, d["bbox"]) >= _OVERLAP]
                others += [d for d in near[:1] if d not in others]
        stray = [] if right or others else own[:1]
        right = right[:_SHOWN]
        said = [f"found with score {d['score']:.2f}" for d in right]
        said += [f"not found, but at another place with {d['score']:.2f}" for d in stray]
        said += [f"taken for {self.names.get(d['category_id'], '?')}, {d['score']:.2f}" for d in others]
        count = f"{len(objects)} {'object' if len(objects) == 1 else 'objects'}"
        caption = f"{count}; {', '.join(said) or 'not found'}"
        boxes = [(box, "true") for box in objects]
        boxes += [(d["bbox"], "own") for d in right + stray] + [(d["bbox"], "other") for d in others]
        width, height = float(image["width"]), float(image["height"])
        picture = tag("image", href=_thumbnail(file), width=width, height=height, preserveAspectRatio="none")
        name = self.names[category]
        label = f"{name}: {caption}"
        content = picture + "".join(_box(box, kind) for box, kind in boxes)
        return Example(name, svg(content, width, height, label, class_="example"), caption)


def _thumbnail(file: Path) -> str:
    with Image.open(file) as opened:
        picture = ImageOps.exif_transpose(opened).convert("RGB")  # as Detectron2 reads it
    picture.thumbnail((_SIZE, _SIZE))
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()


def _box(box: list[float], kind: str) -> str:
    """Twice: a light line on a dark one shows on any picture."""
    x, y, width, height = (round(float(value), 1) for value in box)
    lines = (f"under {kind}", f"over {kind}")
    return "".join(tag("rect", x=x, y=y, width=width, height=height, class_=line) for line in lines)


def _overlap(a: list[float], b: list[float]) -> float:
    """Intersection over union of two boxes (x, y, width, height)."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / (a[2] * a[3] + b[2] * b[3] - width * height)
