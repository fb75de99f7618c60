"""Ground truth as arrays, grouped by image."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lt_det.evaluation._arrays import Bools, Floats, Ints, index_ranges
from lt_det.io.shapes import box_polygon, usable_segmentation


@dataclass(frozen=True, eq=False)
class ClassLists:
    """A list of class indices per image, in two arrays: image i has ``values[start[i] : start[i+1]]``."""

    start: Ints
    values: Ints

    @classmethod
    def from_lists(cls, lists: Sequence[Sequence[int]]) -> ClassLists:
        start = np.concatenate([[0], np.cumsum([len(entry) for entry in lists], dtype=np.int64)]).astype(np.int64)
        return cls(start, np.asarray([value for entry in lists for value in entry], dtype=np.int64))

    def of_images(self, index: Ints) -> ClassLists:
        """The lists of (J,) image indices, in their order."""
        counts = np.diff(self.start)[index]
        start = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return ClassLists(start, self.values[index_ranges(self.start[index], counts)])


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """The objects of I images in K classes, sorted by image; objects of one image keep the order of the file.

    Attributes:
        image_ids: (I,) ascending. Everywhere else an image is given by its index in it.
        category_ids: (K,) classes are given by their index in it.
        sizes: (I, 2) height and width.
        start: (I+1,) the objects of image i are ``start[i] : start[i+1]``.
        classes, boxes, areas: (G,), (G, 4) as x, y, width, height, and (G,).
        ignore: (G,) the ``ignore`` flag of the file.
        crowd: (G,) the ``iscrowd`` flag of the file.
        segmentations: G polygon lists or RLEs as in the file; a missing one is replaced by the box.
        negative: classes that are known to be absent from each image.
        not_exhaustive: classes of which not every object of the image is annotated.
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
    segmentations: list[Any]
    negative: ClassLists
    not_exhaustive: ClassLists

    @classmethod
    def from_json(cls, data: Mapping[str, Any], category_ids: Sequence[Any] | None = None) -> GroundTruth:
        """
        Args:
            data: COCO- or LVIS-format annotations, as returned by `load_annotations`. A missing area is that of the
                box, a missing list is empty.
            category_ids: in class order; None for ascending order.
        """
        images = sorted(data["images"], key=lambda image: image["id"])
        if category_ids is None:
            category_ids = sorted(category["id"] for category in data["categories"])
        image_index = {image["id"]: i for i, image in enumerate(images)}
        class_index = {id_: k for k, id_ in enumerate(category_ids)}
        annotations = sorted(data["annotations"], key=lambda a: image_index[a["image_id"]])  # stable
        image_of_object = np.asarray([image_index[a["image_id"]] for a in annotations], dtype=np.int64)
        boxes = np.asarray([a["bbox"] for a in annotations], dtype=np.float64).reshape(-1, 4)
        areas = [a["bbox"][2] * a["bbox"][3] if a.get("area") is None else a["area"] for a in annotations]

        def class_lists(key: str) -> ClassLists:
            return ClassLists.from_lists(
                [[class_index[id_] for id_ in image.get(key) or () if id_ in class_index] for image in images]
            )

        def flags(key: str) -> Bools:
            return np.asarray([bool(a.get(key)) for a in annotations], dtype=np.bool_)

        return cls(
            image_ids=np.asarray([image["id"] for image in images]),
            category_ids=np.asarray(category_ids),
            sizes=np.asarray([(image["height"], image["width"]) for image in images], dtype=np.int64).reshape(-1, 2),
            start=np.searchsorted(image_of_object, np.arange(len(images) + 1)).astype(np.int64),
            classes=np.asarray([class_index[a["category_id"]] for a in annotations], dtype=np.int64),
            boxes=boxes,
            areas=np.asarray(areas, dtype=np.float64),
            ignore=flags("ignore"),
            crowd=flags("iscrowd"),
            segmentations=[usable_segmentation(a) or [box_polygon(a["bbox"])] for a in annotations],
            negative=class_lists("neg_category_ids"),
            not_exhaustive=class_lists("not_exhaustive_category_ids"),
        )

    @functools.cached_property
    def with_area(self) -> GroundTruth:
        """Without the objects that have no area, which `lvis` drops."""
        kept = (self.areas > 0) & (self.areas < np.inf)
        if kept.all():
            return self
        kept_before = np.concatenate([[0], np.cumsum(kept)])
        return dataclasses.replace(
            self,
            start=kept_before[self.start],
            classes=self.classes[kept],
            boxes=self.boxes[kept],
            areas=self.areas[kept],
            ignore=self.ignore[kept],
            crowd=self.crowd[kept],
            segmentations=[mask for mask, keep in zip(self.segmentations, kept, strict=True) if keep],
        )

    def of_images(self, index: Ints) -> GroundTruth:
        """The ground truth of some images.

        Args:
            index: (J,) image indices, ascending.
        """
        counts = np.diff(self.start)[index]
        objects = index_ranges(self.start[index], counts)
        return dataclasses.replace(
            self,
            image_ids=self.image_ids[index],
            sizes=self.sizes[index],
            start=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            classes=self.classes[objects],
            boxes=self.boxes[objects],
            areas=self.areas[objects],
            ignore=self.ignore[objects],
            crowd=self.crowd[objects],
            segmentations=[self.segmentations[g] for g in objects.tolist()],
            negative=self.negative.of_images(index),
            not_exhaustive=self.not_exhaustive.of_images(index),
        )

    @property
    def num_classes(self) -> int:
        return len(self.category_ids)
