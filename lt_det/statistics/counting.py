"""Count the annotations of a document in pieces."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lt_det.errors import LtDetError

_PENDING = 2**20  # pairs of image and class that are collected before repeated ones are dropped


class ClassCounter:
    """Counts images and instances per class; crowd regions are not counted.

    It keeps about 100 bytes of each image with annotations, and 16 of each class in it.

    Attributes:
        names: K class names.
    """

    def __init__(self, categories: Iterable[Mapping[str, Any]], source: str) -> None:
        """
        Args:
            categories: classes are ordered by their id.
            source: name of the document, for error messages.
        """
        ordered = sorted(categories, key=lambda category: category["id"])
        self.names = tuple(str(category["name"]) for category in ordered)
        self._instances = np.zeros(len(ordered), dtype=np.int64)
        self._class_of = {category["id"]: k for k, category in enumerate(ordered)}
        self._source = source
        self._image_index: dict[Any, int] = {}
        self._pairs: NDArray[np.int64] = np.empty(0, dtype=np.int64)  # image index * K + class, each once
        self._pending = array("q")

    def add(self, annotations: Sequence[Mapping[str, Any]]) -> None:
        """
        Raises:
            LtDetError: an annotation has a category that is not in the document.
        """
        index, classes, num_classes = self._image_index, self._class_of, len(self.names)
        for annotation in annotations:
            k = classes.get(annotation["category_id"])
            if k is None:
                raise LtDetError(
                    f"{self._source}: annotation {annotation['id']} has category {annotation['category_id']}, "
                    "which is not in 'categories'; add it there or correct the id."
                )
            if not annotation.get("iscrowd", 0):
                image = index.setdefault(annotation["image_id"], len(index))
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

    @property
    def num_images(self) -> int:
        """Images with at least one instance."""
        return len(self._image_index)

    def _merge(self) -> None:
        new = np.asarray(self._pending, dtype=np.int64)
        self._pending = array("q")
        self._instances += np.bincount(new % max(1, len(self.names)), minlength=len(self.names))
        self._pairs = np.union1d(self._pairs, new)
