"""The forms in which ground truth and training sets are passed to the evaluation, read into one."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lt_det.errors import LtDetError
from lt_det.evaluation.io.per_image import is_per_image, own_image_ids, targets_to_coco
from lt_det.evaluation.protocols import Task
from lt_det.io.annotations.checks import check_annotations
from lt_det.io.annotations.coco_json import load_annotations
from lt_det.io.annotations.fields import normalized_annotations
from lt_det.statistics.class_stats import ClassStats


@dataclass(frozen=True, eq=False)
class Annotations:
    """Checked COCO- or LVIS-format annotations.

    Attributes:
        data: their content.
        name: path, or what they are, for messages.
        path: None unless they come from a file.
        ordered_ids: image ids in the order of a list of images; None for annotations from a file or dictionary.
    """

    data: dict[str, Any]
    name: str
    path: Path | None = None
    ordered_ids: Sequence[Any] | None = None

    @property
    def categories(self) -> list[dict[str, Any]]:
        """In class order: by ascending id."""
        return sorted(self.data["categories"], key=lambda category: category["id"])

    @property
    def class_names(self) -> list[str]:
        return [str(category["name"]) for category in self.categories]

    @property
    def image_sizes(self) -> dict[Any, tuple[int, int]]:
        """Height and width of each image, where they are known."""
        sizes = {image["id"]: (image["height"], image["width"]) for image in self.data["images"]}
        return {id_: size for id_, size in sizes.items() if size != (0, 0)}


def read_ground_truth(
    ground_truth: Any, tasks: Sequence[Task], categories: Sequence[Mapping[str, Any]] | None = None
) -> Annotations:
    """
    Args:
        ground_truth: path of a COCO- or LVIS-format json, its content, or a list of images (see `per_image`).
        tasks: a list of images needs masks for "segm".
        categories: of a list of images; None for the labels that occur in it.

    Raises:
        LtDetError: the annotations cannot be read, have mistakes or have a label that is no category.
    """
    if isinstance(ground_truth, Annotations):
        return ground_truth
    if isinstance(ground_truth, str | os.PathLike):
        path = Path(ground_truth)
        data = load_annotations(path)
        check_annotations(data, path)
        return Annotations(data, str(path), path)
    if isinstance(ground_truth, Mapping):
        data = normalized_annotations(dict(ground_truth), "The ground truth")
        check_annotations(data, "The ground truth")
        return Annotations(data, "The ground truth")
    if not is_per_image(ground_truth):
        raise LtDetError(
            "The ground truth must be the path of a json, its content, or a list with a dictionary of boxes and labels "
            f"per image, but is a {type(ground_truth).__name__}."
        )
    ids = own_image_ids(ground_truth, "ground truth") or list(range(len(ground_truth)))
    data = targets_to_coco(ground_truth, ids, tasks)
    if categories is not None:
        check_labels({entry["id"] for entry in data["categories"]}, categories, "ground truth")
        data["categories"] = [dict(category) for category in categories]
    return Annotations(data, "The ground truth", ordered_ids=ids)


def check_labels(labels: set[Any], categories: Sequence[Mapping[str, Any]], source: str) -> None:
    """Raise LtDetError if a label is not a category id."""
    unknown = sorted(labels - {category["id"] for category in categories})
    if unknown:
        raise LtDetError(
            f"The {source} has the label {unknown[0]!r}, which is no category id; labels are category ids, without "
            "any shift."
        )


def read_training_set(train: Any) -> tuple[ClassStats | None, list[dict[str, Any]] | None]:
    """Counts of the training set, and its categories by ascending id where they are known.

    Args:
        train: path of a COCO- or LVIS-format json or of saved counts, the content of such a json, `ClassStats` or None.

    Raises:
        LtDetError: it cannot be read.
    """
    if train is None or isinstance(train, ClassStats):
        return train, None
    if isinstance(train, str | os.PathLike):
        if saved := ClassStats.read_saved(train):
            return saved, None
        data, name = load_annotations(train), str(train)
    elif isinstance(train, Mapping):
        name = "The training set"
        data = normalized_annotations(dict(train), name)
    else:
        raise LtDetError(
            f"train must be the path of a json, its content or ClassStats, but is a {type(train).__name__}."
        )
    check_annotations(data, name, warn=False)
    return ClassStats.from_annotations(data, name), sorted(data["categories"], key=lambda category: category["id"])
