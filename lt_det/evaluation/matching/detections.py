"""Detections as arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lt_det.errors import LtDetError
from lt_det.evaluation.hints.id_readings import unknown_ids_hint
from lt_det.evaluation.hints.image_id_readings import ImageIds
from lt_det.evaluation.io.coco_results import Results
from lt_det.evaluation.io.result_fields import matched_ids
from lt_det.evaluation.matching.ground_truth import GroundTruth
from lt_det.evaluation.matching.iou import to_rle
from lt_det.evaluation.protocols import AreaFrom, Task
from lt_det.io.annotations.fields import short_repr
from lt_det.io.rle import covered_pixels
from lt_det.io.shapes import LARGEST, is_flat_polygon, is_polygon
from lt_det.terminal import count_of

_CHECKED_TOGETHER = 1000  # masks per call of `covered_pixels`


@dataclass(frozen=True, eq=False)
class Detections:
    """N detections; ties of scores are broken by their order.

    Attributes:
        images: (N,) image indices in the ground truth.
        classes: (N,) class indices.
        scores: (N,)
        boxes: (N, 4) x, y, width, height in pixels.
        masks: N compressed RLEs of pycocotools; None without masks.
        areas: (N,) in square pixels, where they are not those of the shapes that are matched; None if they are.
    """

    images: NDArray[np.int64]
    classes: NDArray[np.int64]
    scores: NDArray[np.float64]
    boxes: NDArray[np.float64]
    masks: Sequence[Any] | None = None
    areas: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.scores)

    @classmethod
    def from_results(
        cls,
        results: Results,
        truth: GroundTruth,
        task: Task,
        area_from: AreaFrom = "mask",
        named: ImageIds | None = None,
        class_names: Sequence[str] = (),
    ) -> Detections:
        """
        Args:
            results: read for this task, or for this and others.
            truth: its image and category ids are those of the results.
            task: boxes are taken for "bbox", masks for "segm".
            area_from: "box" gives masks the areas of the boxes of the same results, as `lvis` and `pycocotools` do.
            named: images of the ground truth, for the error message.
            class_names: of the ground truth, for the error message.

        Raises:
            LtDetError: an image or category is not in the ground truth, or a segmentation is invalid.
        """
        images = _indices(results.image_ids, "image_id", truth.image_ids, results.source, (named or ImageIds()).hint)
        known = truth.category_ids.tolist()
        classes = _indices(
            results.category_ids,
            "category_id",
            truth.category_ids,
            results.source,
            lambda found: unknown_ids_hint(found, known, class_names),
        )
        if task == "bbox":
            assert results.boxes is not None
            return cls(images, classes, results.scores, results.boxes)
        assert results.segmentations is not None
        masks = [
            _encode(segmentation, truth.sizes[image], truth.image_ids[image], number, results.source)
            for number, (segmentation, image) in enumerate(zip(results.segmentations, images, strict=True))
        ]
        _check_complete(masks, results.image_ids, results.source)
        areas = None
        if area_from == "box":
            assert results.boxes is not None
            areas = results.boxes[:, 2] * results.boxes[:, 3]
        return cls(images, classes, results.scores, np.zeros((len(results), 4)), masks, areas)

    @classmethod
    def concatenate(cls, parts: Sequence[Detections]) -> Detections:
        """Join parts, all with masks or all without, except for empty ones, and the same for areas."""
        with_masks = any(part.masks is not None for part in parts)
        masks = [mask for part in parts for mask in part.masks or ()] if with_masks else None
        areas = [part.areas for part in parts if part.areas is not None]
        return cls(
            np.concatenate([part.images for part in parts]),
            np.concatenate([part.classes for part in parts]),
            np.concatenate([part.scores for part in parts]),
            np.concatenate([part.boxes for part in parts]),
            masks,
            np.concatenate(areas) if areas else None,
        )

    def select(self, index: NDArray[Any]) -> Detections:
        """The detections of an index or bool array, in its order."""
        masks = self.masks
        if masks is not None:
            integers = np.flatnonzero(index) if index.dtype == np.bool_ else index
            masks = [masks[i] for i in integers.tolist()]
        areas = None if self.areas is None else self.areas[index]
        return Detections(self.images[index], self.classes[index], self.scores[index], self.boxes[index], masks, areas)


def _indices(
    ids: NDArray[Any], key: str, known: NDArray[Any], source: object, hint: Callable[[Sequence[Any]], str]
) -> NDArray[np.int64]:
    index = {id_: i for i, id_ in enumerate(known.tolist())}
    read = matched_ids(ids, known).tolist()
    found = np.fromiter(map(index.get, read, repeat(-1)), dtype=np.int64, count=len(ids))
    unknown = np.flatnonzero(found < 0)
    if len(unknown):
        raise LtDetError(
            f"{source} has {count_of(len(unknown), 'detection')} whose '{key}' the ground truth does not have, "
            f"the first is {short_repr(ids.tolist()[unknown[0]])} (detection number {unknown[0]}, counted from "
            f"0); evaluate them on the images and categories that they were predicted for.{hint(read)}"
        )
    return found


def _encode(segmentation: Any, size: NDArray[np.int64], image_id: Any, number: int, source: object) -> Any:
    """The segmentation of a detection as compressed RLE."""
    try:
        if isinstance(segmentation, list):
            polygons = [segmentation] if is_flat_polygon(segmentation) else segmentation
            if not all(map(is_polygon, polygons)):
                raise TypeError
            segmentation = polygons
        mask = to_rle(segmentation, int(size[0]), int(size[1]))
        height, width = mask["size"]
        if not isinstance(mask["counts"], str | bytes) or not (1 <= height <= LARGEST and 1 <= width <= LARGEST):
            raise TypeError
    except Exception:  # pycocotools raises plain exceptions
        raise LtDetError(
            f"{source} has a detection in image {image_id} (number {number}, counted from 0) with a 'segmentation' "
            "that is neither RLE nor polygons; correct or drop it."
        ) from None
    return mask


def _check_complete(masks: Sequence[Any], image_ids: NDArray[Any], source: object) -> None:
    """Raise unless every RLE covers its mask exactly: otherwise the IoU of pycocotools never returns."""
    for start in range(0, len(masks), _CHECKED_TOGETHER):
        part = masks[start : start + _CHECKED_TOGETHER]
        covered = covered_pixels([mask["counts"] for mask in part])
        sizes = np.asarray([mask["size"] for mask in part], dtype=np.int64)
        for index in np.flatnonzero(covered != sizes.prod(axis=1))[:1].tolist():
            height, width = sizes[index].tolist()
            problem = f"cover {covered[index]} pixels, not" if covered[index] >= 0 else "are not an RLE of"
            raise LtDetError(
                f"{source} has a detection in image {image_ids[start + index]} with a 'segmentation' whose 'counts' "
                f"{problem} its {height} x {width} pixels; write every run of the mask, including the last."
            )
