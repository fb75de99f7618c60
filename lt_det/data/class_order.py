"""The order of a data set's classes."""

from __future__ import annotations

from typing import Any

from detectron2.data import MetadataCatalog

from lt_det.data.cache.record_cache import follows_json
from lt_det.errors import LtDetError


def in_class_order(categories: list[dict[str, Any]], dataset_name: str) -> list[dict[str, Any]]:
    """Sort the categories of a json by class: by ascending id, or by the metadata of a user's dataset function.

    Raises:
        LtDetError: the metadata do not say which category is which class.
    """
    by_id = sorted(categories, key=lambda category: category["id"])
    if follows_json(dataset_name):
        return by_id
    metadata = MetadataCatalog.get(dataset_name)
    class_of = metadata.get("thing_dataset_id_to_contiguous_id")
    if class_of is None:
        names, thing_classes = [category["name"] for category in by_id], metadata.get("thing_classes", ())
        if list(thing_classes) == names or set(thing_classes) != set(names):  # LVIS's metadata use synonyms
            return by_id
    elif sorted(class_of.get(category["id"], -1) for category in by_id) == list(range(len(by_id))):
        return sorted(by_id, key=lambda category: class_of[category["id"]])
    raise LtDetError(
        f"The metadata of '{dataset_name}' do not say which category of {metadata.json_file} is which class; set "
        f"thing_dataset_id_to_contiguous_id to the class, 0 to {len(by_id) - 1}, of each category id."
    )
