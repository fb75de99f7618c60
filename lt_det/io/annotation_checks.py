"""Find the mistakes in annotations of COCO's structure, and report them with the record and the fix."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from lt_det.errors import LtDetError
from lt_det.io.annotation_fields import REQUIRED_KEYS, short_repr
from lt_det.io.coco_json import image_file_name
from lt_det.io.shapes import LARGEST, are_pixels, is_polygon, usable_segmentation

logger = logging.getLogger(__name__)

# Annotated boxes often exceed the image by a rounding error; more than this many pixels is a mistake.
BORDER_TOLERANCE = 1.0
_SHOWN = 5  # problems printed in an error before "and ... more"


class Problem(NamedTuple):
    """A mistake in an annotation file. One that is not `fatal` does not stop training: Detectron2 clips or skips it."""

    message: str
    fatal: bool


def find_problems(
    data: dict[str, Any], json_file: str | os.PathLike[str], image_root: str | os.PathLike[str] | None = None
) -> Iterator[Problem]:
    """Yield every mistake in loaded annotations: the record, what is wrong, and the fix.

    Checks duplicate ids and names, unknown image and category ids, boxes of zero size or outside their image,
    polygons with fewer than three points and, with `image_root`, images that are not on disk.
    """
    for section in REQUIRED_KEYS:
        for id_, times in Counter(record["id"] for record in data[section]).items():
            if times > 1:
                message = f"'{section}' id {id_} is used {times} times; give each record a unique id"
                yield Problem(message, fatal=section != "annotations")
    for name, times in Counter(category["name"] for category in data["categories"]).items():
        if times > 1:
            yield Problem(f"category name '{name}' is used {times} times; rename all but one", fatal=False)

    category_ids = {category["id"] for category in data["categories"]}
    images = {image["id"]: image for image in data["images"]}
    for image in data["images"]:
        for key in ("neg_category_ids", "not_exhaustive_category_ids"):
            for id_ in sorted(set(image.get(key) or ()) - category_ids, key=str):
                message = f"image {image['id']}: '{key}' lists category {id_}, which is not in 'categories'; remove it"
                yield Problem(message, fatal=True)
    for annotation in data["annotations"]:
        yield from _reference_problems(annotation, images, category_ids)
        yield from _shape_problems(annotation, images.get(annotation["image_id"]))
    if image_root is not None:
        files = ((image["id"], Path(image_root, image_file_name(image, json_file))) for image in data["images"])
        yield from _missing_images(files, Path(image_root))


def _reference_problems(
    annotation: dict[str, Any], images: dict[Any, dict[str, Any]], category_ids: set[Any]
) -> Iterator[Problem]:
    for kind, id_, known in (
        ("category", annotation["category_id"], category_ids),
        ("image", annotation["image_id"], images),
    ):
        if id_ not in known:
            plural = "categories" if kind == "category" else "images"
            message = f"annotation {annotation['id']}: {kind} {id_} is not in '{plural}'; add it or correct the id"
            yield Problem(message, fatal=True)


def _shape_problems(annotation: dict[str, Any], image: dict[str, Any] | None) -> Iterator[Problem]:
    here, box = f"annotation {annotation['id']}", annotation["bbox"]
    if not (isinstance(box, list) and len(box) == 4 and all(isinstance(v, int | float) for v in box)):
        yield Problem(f"{here}: 'bbox' is {short_repr(box)}; write four numbers [x, y, width, height]", fatal=True)
        return
    x, y, width, height = box
    if not are_pixels(box):
        message = f"{here}: 'bbox' {short_repr(box)} is not finite or exceeds {LARGEST} pixels; correct or drop it"
        yield Problem(message, fatal=True)
    elif width <= 0 or height <= 0:
        yield Problem(f"{here}: 'bbox' {box} has no area; correct or drop it", fatal=False)
    elif image is not None and (
        min(x, y) < -BORDER_TOLERANCE
        or x + width > image["width"] + BORDER_TOLERANCE
        or y + height > image["height"] + BORDER_TOLERANCE
    ):
        size = f"{image['width']} x {image['height']}"
        message = f"{here}: 'bbox' {box} exceeds image {image['id']} of {size} pixels; correct the box or the size"
        yield Problem(message, fatal=False)
    segmentation = annotation.get("segmentation")
    if isinstance(segmentation, dict) and usable_segmentation(annotation) is None:
        message = f"{here}: 'segmentation' has no 'counts' or 'size', or its RLE does not cover height x width pixels"
        yield Problem(message + "; correct or drop it", fatal=False)
    elif isinstance(segmentation, list) and not all(map(is_polygon, segmentation)):
        message = f"{here}: 'segmentation' is not a list of polygons [x, y, x, y, x, y, ...] with three or more points"
        yield Problem(message + "; correct or drop it", fatal=False)


def _missing_images(files: Iterable[tuple[Any, Path]], root: Path) -> Iterator[Problem]:
    if not root.is_dir():
        yield Problem(f"the image folder {root} does not exist; correct the path", fatal=True)
        return
    listed: dict[Path, set[str]] = {}  # one listing per folder: a hundred thousand stat calls are slow on NFS
    for id_, file in files:
        if file.parent not in listed:
            listed[file.parent] = set(os.listdir(file.parent)) if file.parent.is_dir() else set()
        if file.name not in listed[file.parent]:
            message = f"image {id_}: {file} does not exist; correct the image folder or 'file_name'"
            yield Problem(message, fatal=True)


def check_images(files: Iterable[tuple[Any, str]], json_file: str, image_root: str) -> None:
    """Raise unless the images, given as id and path, are on disk.

    Raises:
        LtDetError: images are missing; the message lists the first few.
    """
    paths = ((id_, Path(file)) for id_, file in files)
    missing = [problem.message for problem in _missing_images(paths, Path(image_root))]
    if missing:
        raise LtDetError(f"{json_file}: {_first_few(missing)}.")


def check_annotations(
    data: dict[str, Any], json_file: str | os.PathLike[str], image_root: str | os.PathLike[str] | None = None
) -> None:
    """Log a warning for harmless mistakes and raise for fatal ones.

    Raises:
        LtDetError: fatal mistakes; the message names the file and the first few records.
    """
    problems = list(find_problems(data, json_file, image_root))
    fatal = [problem.message for problem in problems if problem.fatal]
    harmless = [problem.message for problem in problems if not problem.fatal]
    if fatal:
        raise LtDetError(f"{json_file}: {_first_few(fatal)}.")
    if harmless:
        logger.warning(
            "%s: %s. Training skips or repairs these; evaluation treats them as the official tools do.",
            json_file,
            _first_few(harmless),
        )


def _first_few(messages: list[str]) -> str:
    more = f" ... and {len(messages) - _SHOWN} more" if len(messages) > _SHOWN else ""
    return "; ".join(messages[:_SHOWN]) + more
