"""What an annotation file shows about a data set: class counts, sizes of images and objects, masks, keypoints."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lt_det.data.keypoints import names_of_categories
from lt_det.errors import LtDetError
from lt_det.io.annotations.coco_json import image_file_name, read_in_pieces
from lt_det.io.annotations.fields import SECTIONS
from lt_det.io.shapes import usable_segmentation
from lt_det.statistics.class_stats import ClassStats
from lt_det.statistics.counting import ClassCounter


@dataclass(frozen=True, eq=False)
class Survey:
    """A data set, without crowd regions and without boxes that have no area in their image, which no training sees.

    Attributes:
        stats: counts of the K classes.
        files: file name of each of N images.
        image_sizes: (N, 2) width and height in pixels.
        box_sizes: (A, 2) width and height of each object in pixels.
        image_of_box: (A,) index of its image.
        class_of_box: (A,) its class.
        masks: objects with a segmentation that can be used.
        with_keypoints: objects with keypoints.
        keypoints: names of the keypoints; empty if no category has any, or categories have different ones, for which
            Detectron2 has no head.
        federated: whether images list the classes that are verified in them, as in LVIS.
        has_letters: whether every category has LVIS's frequency letter.
    """

    stats: ClassStats
    files: list[str]
    image_sizes: NDArray[np.float64]
    box_sizes: NDArray[np.float64]
    image_of_box: NDArray[np.int64]
    class_of_box: NDArray[np.int64]
    masks: int
    with_keypoints: int
    keypoints: list[str]
    federated: bool
    has_letters: bool

    @property
    def most_have_masks(self) -> bool:
        """Whether at least half of the objects have a segmentation."""
        return self.masks > 0 and 2 * self.masks >= len(self.box_sizes)

    @property
    def most_have_keypoints(self) -> bool:
        """Whether at least half of the objects have keypoints whose names are known."""
        return bool(self.keypoints) and self.with_keypoints > 0 and 2 * self.with_keypoints >= len(self.box_sizes)

    def objects_per_image(self) -> NDArray[np.int64]:
        """(N,) objects in each image."""
        return np.bincount(self.image_of_box, minlength=len(self.files)).astype(np.int64)


def survey_of_file(json_file: Path) -> Survey:
    """Look at an annotation file, in pieces.

    Raises:
        LtDetError: see `load_annotations`.
    """
    return _survey(read_in_pieces(json_file), json_file)


def survey_of_annotations(data: Mapping[str, Any], json_file: Path) -> Survey:
    """Look at annotations from `normalized_annotations`.

    Args:
        data: its result.
        json_file: where they are, for messages.
    """
    return _survey(((section, data[section]) for section in SECTIONS), json_file)


def _survey(pieces: Iterable[tuple[str, Sequence[Mapping[str, Any]]]], json_file: Path) -> Survey:
    """
    Args:
        pieces: normalized records by section; all categories first, then all images.
        json_file: for messages.
    """
    categories: list[Mapping[str, Any]] = []
    index: dict[Any, int] = {}
    size_of: dict[Any, tuple[int, int]] = {}
    files: list[str] = []
    sizes, boxes, image_of_box, class_of_box = array("d"), array("d"), array("q"), array("q")
    classes: dict[Any, int] = {}
    found: Counter[str] = Counter()
    counter: ClassCounter | None = None
    for section, records in pieces:
        if section == "categories":
            categories += records
        elif section == "images":
            for image in records:
                index[image["id"]] = len(files)
                files.append(image_file_name(dict(image), json_file))
                sizes.extend(size_of.setdefault(image["id"], (image["width"], image["height"])))
                found["federated"] += isinstance(image.get("neg_category_ids"), list)
        else:
            counter = counter or ClassCounter(categories, str(json_file))
            classes = classes or {id_: k for k, id_ in enumerate(sorted(category["id"] for category in categories))}
            seen = [
                record
                for record in records
                if not record.get("iscrowd") and _has_area(record["bbox"], *size_of[record["image_id"]])
            ]
            counter.add(seen)
            for record in seen:
                image_of_box.append(index[record["image_id"]])
                class_of_box.append(classes[record["category_id"]])
                boxes.extend(record["bbox"][2:])
                found["masks"] += usable_segmentation(dict(record)) is not None
                found["keypoints"] += bool(record.get("keypoints"))
    counter = counter or ClassCounter(categories, str(json_file))
    return Survey(
        stats=ClassStats.from_counter(counter, str(json_file)),
        files=files,
        image_sizes=np.asarray(sizes).reshape(-1, 2),
        box_sizes=np.asarray(boxes).reshape(-1, 2),
        image_of_box=np.asarray(image_of_box, dtype=np.int64),
        class_of_box=np.asarray(class_of_box, dtype=np.int64),
        masks=found["masks"],
        with_keypoints=found["keypoints"],
        keypoints=_keypoints(categories, json_file),
        federated=found["federated"] > 0,
        has_letters=bool(categories) and all(category.get("frequency") in ("r", "c", "f") for category in categories),
    )


def _has_area(box: Sequence[float], image_width: int, image_height: int) -> bool:
    """Whether a part of a box lies in its image."""
    x, y, width, height = box
    return min(x + width, image_width) > max(x, 0) and min(y + height, image_height) > max(y, 0)


def _keypoints(categories: Sequence[Mapping[str, Any]], json_file: Path) -> list[str]:
    try:
        return names_of_categories(categories, str(json_file)) or []
    except LtDetError:
        return []
