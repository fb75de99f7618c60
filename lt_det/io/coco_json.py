"""Read COCO- and LVIS-format json and find out what is wrong with it, in words a user can act on."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from lt_det.errors import LtDetError
from lt_det.io.rle import covered_pixels

logger = logging.getLogger(__name__)

# Annotators' boxes often pass the border by a rounding error; more than this many pixels is a mistake.
BORDER_TOLERANCE = 1.0
LARGEST = 10**6  # pixels; a coordinate or a side that goes much further crashes pycocotools
_SHOWN = 5  # problems printed in an error before "and ... more"


class Problem(NamedTuple):
    """A mistake in an annotation file. Training goes on over one that is not `fatal`: Detectron2 clips or skips it."""

    message: str
    fatal: bool


_REQUIRED = {
    "images": ("id", "height", "width"),
    "annotations": ("id", "image_id", "category_id", "bbox"),
    "categories": ("id", "name"),
}


def read_json(file: str | os.PathLike[str], kind: str) -> Any:
    """The content of a json file that a user named.

    Args:
        file: its path.
        kind: what it should be, for error messages: "annotation file".

    Raises:
        LtDetError: a file that is missing, cannot be read, is empty or no json.
    """
    try:
        text = Path(file).read_bytes()
    except FileNotFoundError:
        raise LtDetError(f"The {kind} {file} does not exist; check the path.") from None
    except OSError as error:
        raise LtDetError(f"The {kind} {file} cannot be read: {error.strerror}.") from None
    if not text.strip():
        raise LtDetError(f"The {kind} {file} is empty; download or write it again.")
    with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return msgspec.json.decode(text)  # gives what json gives, in a quarter of the time
    try:  # NaN and Infinity, other encodings; and json says more of a mistake
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise LtDetError(
            f"The {kind} {file} ({len(text)} bytes) is not valid json ({error}); it may be truncated: download or "
            "write it again."
        ) from None


def load_annotations(json_file: str | os.PathLike[str]) -> dict[str, Any]:
    """Read an annotation file and check its structure: the three lists, and the keys of each record.

    Args:
        json_file: a COCO- or LVIS-format json with ``images``, ``annotations`` and ``categories``.

    Raises:
        LtDetError: missing, empty or truncated file, a missing list or key, no image or no category.
    """
    path = Path(json_file)
    data = read_json(path, "annotation file")
    check_structure(data, path)
    return data


def check_structure(data: Any, path: Path) -> None:
    """Raise unless `data` has COCO's three lists, and their records the keys that are needed.

    Args:
        data: annotations, in whatever format they were read.
        path: where they come from, for error messages.

    Raises:
        LtDetError: see `load_annotations`.
    """
    if not isinstance(data, dict):
        raise LtDetError(f"{path} holds a {type(data).__name__}, not an object with images, annotations, categories.")
    for section, keys in _REQUIRED.items():
        records = data.get(section)
        if not isinstance(records, list):
            raise LtDetError(f"{path} has no list '{section}'; is it a COCO- or LVIS-format annotation file?")
        for index, record in enumerate(records):
            missing = [key for key in keys if not isinstance(record, dict) or key not in record]
            if missing:
                name = f"id {record['id']}" if isinstance(record, dict) and "id" in record else f"number {index}"
                raise LtDetError(f"{path}: '{section}' record {name} has no '{missing[0]}'; add it or drop the record.")
    for section in ("images", "categories"):
        if not data[section]:
            raise LtDetError(f"{path} lists no {section}; nothing can be trained or counted from it.")
    _check_types(data, path)


def _check_types(data: dict[str, Any], path: Path) -> None:
    for section, records in data.items():
        if section not in _REQUIRED:
            continue
        kinds = {type(record["id"]) for record in records}
        if not (kinds <= {int} or kinds <= {str}):
            names = " and ".join(sorted(kind.__name__ for kind in kinds))
            raise LtDetError(f"{path}: the ids of '{section}' are of type {names}; make all of them whole numbers.")
    for image in data["images"]:
        for key in ("height", "width"):
            if not isinstance(image[key], int | float) or not 0 < image[key] <= LARGEST:
                found = _shortly(image[key])
                raise LtDetError(f"{path}: image {image['id']} has '{key}' {found}; write the number of pixels.")
        for key in ("neg_category_ids", "not_exhaustive_category_ids"):
            ids = image.get(key) or []
            if not isinstance(ids, list) or not all(isinstance(id_, int | str) for id_ in ids):
                raise LtDetError(
                    f"{path}: image {image['id']} has '{key}' {image[key]!r}; write a list of category ids."
                )
    for category in data["categories"]:
        if not isinstance(category["name"], str | int):
            raise LtDetError(f"{path}: category {category['id']} has the name {category['name']!r}; write a text.")
    for annotation in data["annotations"]:
        area = annotation.get("area")
        if area is not None and not (isinstance(area, float) or (isinstance(area, int) and abs(area) <= LARGEST**2)):
            found = _shortly(area)
            raise LtDetError(f"{path}: annotation {annotation['id']} has 'area' {found}; write a number of pixels.")
        for key in ("image_id", "category_id"):
            if not isinstance(annotation[key], int | str):
                raise LtDetError(
                    f"{path}: annotation {annotation['id']} has '{key}' {annotation[key]!r}; write a single id."
                )


def usable_outline(annotation: dict[str, Any]) -> list[list[float]] | dict[str, Any] | None:
    """The polygons of at least three points, or the run lengths, of an annotation; None if it has neither, or such that
    pycocotools crashes on them or never ends."""
    segmentation = annotation.get("segmentation")
    if isinstance(segmentation, dict):
        return segmentation if _is_run_lengths(segmentation) else None
    if not isinstance(segmentation, list):
        return None
    return [polygon for polygon in segmentation if _is_polygon(polygon)] or None


def _is_run_lengths(segmentation: dict[str, Any]) -> bool:
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if not (isinstance(size, list | tuple) and len(size) == 2 and all(isinstance(side, int) for side in size)):
        return False
    height, width = size
    if not (1 <= height <= LARGEST and 1 <= width <= LARGEST and height * width < 2**32):
        return False
    if isinstance(counts, str | bytes):
        return bool(covered_pixels([counts])[0] == height * width)
    if not isinstance(counts, list):
        return False
    try:
        return min(counts) >= 0 and sum(map(int, counts)) == height * width
    except (TypeError, ValueError, OverflowError):
        return False


def _is_polygon(polygon: Any) -> bool:
    return isinstance(polygon, list) and len(polygon) >= 6 and len(polygon) % 2 == 0 and _are_pixels(polygon)


def _are_pixels(numbers: list[Any]) -> bool:
    """Whether all are finite numbers of at most `LARGEST`."""
    try:  # their root of squares is the quickest way to look at each of them
        return math.hypot(*numbers) <= LARGEST or all(abs(number) <= LARGEST for number in numbers)
    except (TypeError, OverflowError):
        return False


def _shortly(value: Any) -> str:
    return repr(value)[:60]


def box_outline(box: list[float]) -> list[float]:
    """[x, y, width, height] as a polygon."""
    x, y, width, height = box
    return [x, y, x + width, y, x + width, y + height, x, y + height]


def find_problems(
    data: dict[str, Any], json_file: str | os.PathLike[str], image_root: str | os.PathLike[str] | None = None
) -> Iterator[Problem]:
    """Yield every mistake in loaded annotations: the record, what is wrong, the mend.

    Checks duplicate ids and names, unknown image and category ids, boxes of zero size or outside their image,
    polygons of fewer than three points, and, with `image_root`, that every image is on disk.
    """
    for section in _REQUIRED:
        for id_, times in Counter(record["id"] for record in data[section]).items():
            if times > 1:
                message = f"'{section}' id {id_} is used {times} times; give each record an id of its own"
                yield Problem(message, fatal=section != "annotations")
    for name, times in Counter(category["name"] for category in data["categories"]).items():
        if times > 1:
            yield Problem(f"category name '{name}' is used {times} times; rename all but one", fatal=False)

    category_ids = {category["id"] for category in data["categories"]}
    images = {image["id"]: image for image in data["images"]}
    for image in data["images"]:
        for key in ("neg_category_ids", "not_exhaustive_category_ids"):
            for id_ in sorted(set(image.get(key) or ()) - category_ids, key=str):
                message = f"image {image['id']}: '{key}' names category {id_}, which is not in 'categories'; remove it"
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
        yield Problem(f"{here}: 'bbox' is {_shortly(box)}; write four numbers [x, y, width, height]", fatal=True)
        return
    x, y, width, height = box
    if not _are_pixels(box):
        message = f"{here}: 'bbox' {_shortly(box)} is not finite, or beyond {LARGEST} pixels; correct or drop it"
        yield Problem(message, fatal=True)
    elif width <= 0 or height <= 0:
        yield Problem(f"{here}: 'bbox' {box} has no area; correct or drop it", fatal=False)
    elif image is not None and (
        min(x, y) < -BORDER_TOLERANCE
        or x + width > image["width"] + BORDER_TOLERANCE
        or y + height > image["height"] + BORDER_TOLERANCE
    ):
        size = f"{image['width']} x {image['height']}"
        message = f"{here}: 'bbox' {box} leaves image {image['id']} of {size} pixels; correct the box or the size"
        yield Problem(message, fatal=False)
    segmentation = annotation.get("segmentation")
    if isinstance(segmentation, dict) and usable_outline(annotation) is None:
        message = f"{here}: 'segmentation' lacks 'counts' or 'size', or its runs do not fill its height x width"
        yield Problem(message + "; correct or drop it", fatal=False)
    elif isinstance(segmentation, list) and not all(map(_is_polygon, segmentation)):
        message = (
            f"{here}: 'segmentation' has something else than polygons [x, y, x, y, x, y, ...] of three or more points"
        )
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
    """Raise unless the images, given by id and path, are on disk.

    Raises:
        LtDetError: names the first few that are not.
    """
    paths = ((id_, Path(file)) for id_, file in files)
    missing = [problem.message for problem in _missing_images(paths, Path(image_root))]
    if missing:
        raise LtDetError(f"{json_file}: {_first_few(missing)}.")


def check_annotations(
    data: dict[str, Any], json_file: str | os.PathLike[str], image_root: str | os.PathLike[str] | None = None
) -> None:
    """Find problems; warn of the harmless ones, and raise for the fatal ones.

    Raises:
        LtDetError: names the file and the first few records.
    """
    problems = list(find_problems(data, json_file, image_root))
    fatal = [problem.message for problem in problems if problem.fatal]
    harmless = [problem.message for problem in problems if not problem.fatal]
    if fatal:
        raise LtDetError(f"{json_file}: {_first_few(fatal)}.")
    if harmless:
        logger.warning(
            "%s: %s. Training leaves these out or repairs them; an evaluation takes them as the official tools do.",
            json_file,
            _first_few(harmless),
        )


def _first_few(messages: list[str]) -> str:
    more = f" ... and {len(messages) - _SHOWN} more" if len(messages) > _SHOWN else ""
    return "; ".join(messages[:_SHOWN]) + more


def image_file_name(image: dict[str, Any], json_file: str | os.PathLike[str]) -> str:
    """Path of an image inside its image folder.

    ``file_name`` where there is one. LVIS v1 has only ``coco_url`` (``.../train2017/000000391895.jpg``: its last two
    parts count), and LVIS v0.5's ``file_name`` carries a COCO 2014 prefix that no file on disk has.
    """
    name, url = str(image.get("file_name") or ""), str(image.get("coco_url") or "")
    in_url = "/".join(url.split("/")[-2:])
    if url and (not name or (name.startswith("COCO_") and not url.endswith(name))):
        return in_url
    if name:
        return name
    raise LtDetError(f"{json_file}: image {image['id']} has neither 'file_name' nor 'coco_url'; add 'file_name'.")
