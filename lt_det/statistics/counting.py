"""Count the annotations of a document in pieces."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lt_det.errors import LtDetError
from lt_det.io.shapes import has_area

_PENDING = 2**20  # pairs of image and class that are collected before repeated ones are dropped


class ClassCounter:
    """Counts the images and instances per class that training sees.

    Crowd regions and boxes without an area inside their image are not counted: Detectron2's mapper drops both.

    It keeps about 100 bytes of each image with annotations, and 16 of each class in it.

    Attributes:
        names: K class names.
    """

    def __init__(
        self,
        categories: Iterable[Mapping[str, Any]],
        source: str,
        sizes: Mapping[Any, tuple[float, float]] | None = None,
    ) -> None:
        """
        Args:
            categories: classes are ordered by their id.
            source: name of the document, for error messages.
            sizes: width and height of the images by id, as far as they are known when their annotations are added.
        """
        ordered = sorted(categories, key=lambda category: category["id"])
        self.names = tuple(str(category["name"]) for category in ordered)
        self._instances = np.zeros(len(ordered), dtype=np.int64)
        self._class_of = {category["id"]: k for k, category in enumerate(ordered)}
        self._source = source
        self._sizes = {} if sizes is None else sizes  # which may still be empty, and grow
        self._image_index: dict[Any, int] = {}
        self._pairs: NDArray[np.int64] = np.empty(0, dtype=np.int64)  # image index * K + class, each once
        self._pending = array("q")

    def add(self, annotations: Sequence[Mapping[str, Any]]) -> None:
        """
        Raises:
            LtDetError: an annotation has a category that is not in the document.
        """
        index, classes, num_classes = self._image_index, self._class_of, len(self.names)
        size_of = self._sizes.get
        for annotation in annotations:
            k = classes.get(annotation["category_id"])
            if k is None:
                raise LtDetError(
                    f"{self._source}: annotation {annotation['id']} has category {annotation['category_id']}, "
                    "which is not in 'categories'; add it there or correct the id."
                )
            id_ = annotation["image_id"]
            if not annotation.get("iscrowd", 0) and has_area(annotation.get("bbox"), size_of(id_)):
                image = index.setdefault(id_, len(index))
                self._pending.append(image * num_classes + k)
        if len(self._pending) >= max(_PENDING, len(self._pairs)):
            self._merge()

    def instance_counts(self) -> NDArray[np.int64]:
        """(K,) instances of each class."""
        self._merge()
        return self._instances

    def image_counts(self) -> NDArray[np.int64]:
        """(K,) images with at least one instance of each class."""
        self._merge()
        return np.bincount(self._pairs % max(1, len(self.names)), minlength=len(self.names)).astype(np.int64)

    def images_with(self, classes: NDArray[np.int64]) -> int:
        """How many images have an instance of at least one of these classes."""
        self._merge()
        images, classes_there = np.divmod(self._pairs, max(1, len(self.names)))
        return len(np.unique(images[np.isin(classes_there, classes)]))

    def classes_of_images(self) -> dict[Any, list[int]]:
        """The classes of each image with at least one instance, by image id, in ascending order."""
        self._merge()
        images, classes = np.divmod(self._pairs, max(1, len(self.names)))  # the pairs are in ascending order
        parts = np.split(classes, np.searchsorted(images, np.arange(1, len(self._image_index))))
        return {id_: part.tolist() for id_, part in zip(self._image_index, parts, strict=True)}

    @property
    def num_images(self) -> int:
        """Images with at least one instance."""
        return len(self._image_index)

    def _merge(self) -> None:
        new = np.asarray(self._pending, dtype=np.int64)
        self._pending = array("q")
        self._instances += np.bincount(new % max(1, len(self.names)), minlength=len(self.names))
        self._pairs = np.union1d(self._pairs, new)
