"""Ground truth as arrays, grouped by image."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lt_det.io.coco_json import box_outline, usable_outline

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Lists:
    """A list of class indices for each image, in two arrays: those of image i are ``values[start[i] : start[i+1]]``."""

    start: Ints
    values: Ints

    @classmethod
    def of(cls, lists: list[list[int]]) -> Lists:
        start = np.concatenate([[0], np.cumsum([len(entry) for entry in lists], dtype=np.int64)]).astype(np.int64)
        return cls(start, np.asarray([value for entry in lists for value in entry], dtype=np.int64))


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """The objects of I images in K classes, sorted by image; inside an image they keep the json's order.

    Attributes:
        image_ids: (I,) rising. Everywhere else images are meant by their index in it.
        category_ids: (K,) classes are meant by their index in it.
        sizes: (I, 2) height and width.
        start: (I+1,) the objects of image i are ``start[i] : start[i+1]``.
        classes, boxes, areas: (G,), (G, 4) as x, y, width, height, and (G,).
        ignore: (G,) the json's ``ignore`` flag.
        crowd: (G,) the json's ``iscrowd`` flag.
        outlines: G segmentations as in the json; boxes stand in for missing ones.
        negative: per image the classes that are known not to be there.
        not_exhaustive: per image the classes of which not every object is annotated.
    """

    image_ids: Ints
    category_ids: Ints
    sizes: Ints
    start: Ints
    classes: Ints
    boxes: Floats
    areas: Floats
    ignore: Bools
    crowd: Bools
    outlines: list[Any]
    negative: Lists
    not_exhaustive: Lists

    @classmethod
    def from_json(cls, data: dict[str, Any], category_ids: Sequence[Any] | None = None) -> GroundTruth:
        """
        Args:
            data: COCO- or LVIS-format annotations, as `load_annotations` gives them. Missing areas are those of the
                boxes, missing lists are empty.
            category_ids: in the order of the classes; None: rising.
        """
        images = sorted(data["images"], key=lambda image: image["id"])
        if category_ids is None:
            category_ids = sorted(category["id"] for category in data["categories"])
        image_index = {image["id"]: i for i, image in enumerate(images)}
        class_index = {id_: k for k, id_ in enumerate(category_ids)}
        annotations = sorted(data["annotations"], key=lambda a: image_index[a["image_id"]])  # stable
        of_image = np.asarray([image_index[a["image_id"]] for a in annotations], dtype=np.int64)
        boxes = np.asarray([a["bbox"] for a in annotations], dtype=np.float64).reshape(-1, 4)
        areas = [a["bbox"][2] * a["bbox"][3] if a.get("area") is None else a["area"] for a in annotations]

        def lists(key: str) -> Lists:
            known = [[class_index[id_] for id_ in image.get(key) or () if id_ in class_index] for image in images]
            return Lists.of(known)

        def flags(key: str) -> Bools:
            return np.asarray([bool(a.get(key)) for a in annotations], dtype=np.bool_)

        return cls(
            image_ids=np.asarray([image["id"] for image in images]),
            category_ids=np.asarray(category_ids),
            sizes=np.asarray([(image["height"], image["width"]) for image in images], dtype=np.int64).reshape(-1, 2),
            start=np.searchsorted(of_image, np.arange(len(images) + 1)).astype(np.int64),
            classes=np.asarray([class_index[a["category_id"]] for a in annotations], dtype=np.int64),
            boxes=boxes,
            areas=np.asarray(areas, dtype=np.float64),
            ignore=flags("ignore"),
            crowd=flags("iscrowd"),
            outlines=[usable_outline(a) or [box_outline(a["bbox"])] for a in annotations],
            negative=lists("neg_category_ids"),
            not_exhaustive=lists("not_exhaustive_category_ids"),
        )

    @functools.cached_property
    def with_area(self) -> GroundTruth:
        """Without the objects that have no area, as `lvis` reads it."""
        kept = (self.areas > 0) & (self.areas < np.inf)
        if kept.all():
            return self
        before = np.concatenate([[0], np.cumsum(kept)])
        return dataclasses.replace(
            self,
            start=before[self.start],
            classes=self.classes[kept],
            boxes=self.boxes[kept],
            areas=self.areas[kept],
            ignore=self.ignore[kept],
            crowd=self.crowd[kept],
            outlines=[outline for outline, keep in zip(self.outlines, kept, strict=True) if keep],
        )

    @property
    def num_classes(self) -> int:
        return len(self.category_ids)
