"""Some images and classes of an annotation file, as records that are otherwise unchanged."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from lt_det.io.annotations.fields import FEDERATED_LISTS
from lt_det.statistics.buckets import LVIS_EDGES
from lt_det.statistics.class_stats import ClassStats
from lt_det.statistics.counting import ClassCounter

_LETTERS = "rcf"  # of LVIS: rare, common and frequent classes
_COUNT_FIELDS = ("frequency", "image_count", "instance_count")


def count_fields(ids: Sequence[Any], stats: ClassStats) -> dict[Any, dict[str, Any]]:
    """``frequency``, ``image_count`` and ``instance_count`` of each category, by id.

    Args:
        ids: ids of the categories, in ascending order.
        stats: their counts.
    """
    letters = [_LETTERS[bucket] for bucket in np.searchsorted(LVIS_EDGES, stats.image_counts)]
    counted = zip(ids, letters, stats.image_counts.tolist(), stats.counts("instances").tolist(), strict=True)
    return {id_: dict(zip(_COUNT_FIELDS, values, strict=True)) for id_, *values in counted}


class RecordSelection:
    """Selects records, a part of a section at a time: first images, then annotations, finally categories.

    Each method takes records as read and normalized (see `AnnotationFields`), and returns the selected ones as read.
    """

    def __init__(
        self,
        categories: Sequence[Mapping[str, Any]],
        images: Collection[Any] | None,
        classes: Collection[Any] | None,
        counts_of: Mapping[Any, Mapping[str, Any]] | None = None,
    ) -> None:
        """
        Args:
            categories: all categories of the file, normalized.
            images: ids of the images to keep; None: all.
            classes: ids of the categories to keep, with their annotations; None: all.
            counts_of: by id, categories whose ``frequency``, ``image_count`` and ``instance_count`` replace those of
                the file; None: they are counted in the selection.
        """
        self._categories = categories
        self._images = images
        self._classes = classes
        self._counts_of = counts_of
        self._sizes: dict[Any, tuple[int, int]] = {}
        kept = [category for category in categories if classes is None or category["id"] in classes]
        self._ids = sorted(category["id"] for category in kept)
        self._counter = ClassCounter(kept, "The selection", self._sizes)
        self.num_images = 0

    def images(
        self, records: Sequence[dict[str, Any]], normalized: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        """The selected images. Federated lists lose the classes that are left out."""
        selected = []
        for record, same in zip(records, normalized, strict=True):
            if self._images is None or same["id"] in self._images:
                self._sizes[same["id"]] = (same["width"], same["height"])
                selected.append(record if self._classes is None else {**record, **self._federated(record, same)})
        self.num_images += len(selected)
        return selected

    def annotations(
        self, records: Sequence[dict[str, Any]], normalized: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        """The annotations of the selected images and classes."""
        pairs = [
            (record, same)
            for record, same in zip(records, normalized, strict=True)
            if same["image_id"] in self._sizes and (self._classes is None or same["category_id"] in self._classes)
        ]
        self._counter.add([same for _, same in pairs])
        return [record for record, _ in pairs]

    def categories(self, records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The selected categories, with the counts of the selection where they have counts."""
        counts = self._counts_of or count_fields(self._ids, self.stats())
        return [
            {**record, **{key: counts[same["id"]][key] for key in _COUNT_FIELDS if key in record}}
            for record, same in zip(records, self._categories, strict=True)
            if self._classes is None or same["id"] in self._classes
        ]

    def stats(self) -> ClassStats:
        """Class counts of what has been selected so far."""
        return ClassStats.from_counter(self._counter, "The selection")

    def _federated(self, record: Mapping[str, Any], same: Mapping[str, Any]) -> dict[str, Any]:
        classes = self._classes or ()
        return {
            key: [id_ for id_, normal in zip(record[key], same[key], strict=True) if normal in classes]
            for key in FEDERATED_LISTS
            if record.get(key)
        }
