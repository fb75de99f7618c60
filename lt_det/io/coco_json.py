"""Read COCO- and LVIS-format json files, and refuse those without COCO's structure."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import msgspec

from lt_det.errors import LtDetError
from lt_det.io.shapes import LARGEST

REQUIRED_KEYS = {
    "images": ("id", "height", "width"),
    "annotations": ("id", "image_id", "category_id", "bbox"),
    "categories": ("id", "name"),
}


def read_json(file: str | os.PathLike[str], kind: str) -> Any:
    """The content of a json file that a user named.

    Args:
        file: path of the file.
        kind: what the file should be, for error messages, such as "annotation file".

    Raises:
        LtDetError: the file is missing, unreadable, empty or not valid json.
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
        return msgspec.json.decode(text)  # the same result as json.loads in a quarter of the time
    try:  # json also reads NaN, Infinity and other encodings, and its errors name line and column
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
        LtDetError: the file is missing, empty or truncated; a list or key is missing; there is no image or category.
    """
    data = read_json(json_file, "annotation file")
    check_structure(data, str(json_file))
    assert isinstance(data, dict)
    return data


def check_structure(data: Any, path: str) -> None:
    """Raise unless `data` has the lists of an annotation file, with the keys and types of each record.

    Args:
        data: content of a COCO- or LVIS-format json.
        path: its file or name, for error messages.

    Raises:
        LtDetError: see `load_annotations`.
    """
    if not isinstance(data, dict):
        raise LtDetError(f"{path} holds a {type(data).__name__}, not an object with images, annotations, categories.")
    for section, keys in REQUIRED_KEYS.items():
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


def _check_types(data: dict[str, Any], path: str) -> None:
    for section, records in data.items():
        if section not in REQUIRED_KEYS:
            continue
        kinds = {type(record["id"]) for record in records}
        if not (kinds <= {int} or kinds <= {str}):
            names = " and ".join(sorted(kind.__name__ for kind in kinds))
            raise LtDetError(f"{path}: the ids of '{section}' are of type {names}; make all of them whole numbers.")
    for image in data["images"]:
        for key in ("height", "width"):
            if not isinstance(image[key], int | float) or not 0 < image[key] <= LARGEST:
                found = short_repr(image[key])
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
            found = short_repr(area)
            raise LtDetError(f"{path}: annotation {annotation['id']} has 'area' {found}; write a number of pixels.")
        for key in ("image_id", "category_id"):
            if not isinstance(annotation[key], int | str):
                raise LtDetError(
                    f"{path}: annotation {annotation['id']} has '{key}' {annotation[key]!r}; write a single id."
                )


def short_repr(value: Any) -> str:
    """The first characters of a value, for error messages."""
    return repr(value)[:60]


def image_file_name(image: dict[str, Any], json_file: str | os.PathLike[str]) -> str:
    """Path of an image relative to its image folder.

    ``file_name`` if present. LVIS v1 has only ``coco_url`` (``.../train2017/000000391895.jpg``: its last two
    parts are used), and LVIS v0.5's ``file_name`` has a COCO 2014 prefix that the files on disk do not have.
    """
    name, url = str(image.get("file_name") or ""), str(image.get("coco_url") or "")
    in_url = "/".join(url.split("/")[-2:])
    if url and (not name or (name.startswith("COCO_") and not url.endswith(name))):
        return in_url
    if name:
        return name
    raise LtDetError(f"{json_file}: image {image['id']} has neither 'file_name' nor 'coco_url'; add 'file_name'.")
