"""Detections as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lt_det.errors import LtDetError
from lt_det.evaluation.io.coco_results import Results
from lt_det.evaluation.matching.ground_truth import GroundTruth
from lt_det.evaluation.matching.iou import run_lengths
from lt_det.evaluation.protocols import Task
from lt_det.io.coco_json import LARGEST
from lt_det.io.rle import covered_pixels

_CHECKED_TOGETHER = 1000  # masks


@dataclass(frozen=True, eq=False)
class Detections:
    """N detections, in the order in which ties of their scores are broken.

    Attributes:
        images: (N,) image index in the ground truth.
        classes: (N,) class index.
        scores: (N,)
        boxes: (N, 4) x, y, width, height in pixels.
        masks: N run lengths as of pycocotools, where there are masks.
    """

    images: NDArray[np.int64]
    classes: NDArray[np.int64]
    scores: NDArray[np.float64]
    boxes: NDArray[np.float64]
    masks: Sequence[Any] | None = None

    def __len__(self) -> int:
        return len(self.scores)

    @classmethod
    def from_results(cls, results: Results, truth: GroundTruth, task: Task) -> Detections:
        """
        Args:
            results: read for this task, or for it and others.

        Raises:
            LtDetError: an image or category that the ground truth does not have, or what is no outline.
        """
        images = _indices(results.image_ids, "image_id", truth.image_ids, results.source)
        classes = _indices(results.category_ids, "category_id", truth.category_ids, results.source)
        if task == "bbox":
            assert results.boxes is not None
            return cls(images, classes, results.scores, results.boxes)
        assert results.outlines is not None
        masks = [
            _mask(outline, truth.sizes[image], truth.image_ids[image], results.source)
            for outline, image in zip(results.outlines, images, strict=True)
        ]
        _check_filled(masks, results.image_ids, results.source)
        return cls(images, classes, results.scores, np.zeros((len(results), 4)), masks)

    @classmethod
    def concatenate(cls, parts: Sequence[Detections]) -> Detections:
        """One after the other; all with masks or all without."""
        masks = None if parts[0].masks is None else [mask for part in parts for mask in part.masks or ()]
        return cls(
            np.concatenate([part.images for part in parts]),
            np.concatenate([part.classes for part in parts]),
            np.concatenate([part.scores for part in parts]),
            np.concatenate([part.boxes for part in parts]),
            masks,
        )

    def select(self, which: NDArray[Any]) -> Detections:
        """Those of an index or bool array, in its order."""
        masks = self.masks
        if masks is not None:
            chosen = np.flatnonzero(which) if which.dtype == np.bool_ else which
            masks = [masks[i] for i in chosen.tolist()]
        return Detections(self.images[which], self.classes[which], self.scores[which], self.boxes[which], masks)


def _indices(ids: NDArray[Any], key: str, known: NDArray[Any], source: object) -> NDArray[np.int64]:
    index = {id_: i for i, id_ in enumerate(known.tolist())}
    try:
        found = np.fromiter(map(index.get, ids.tolist(), repeat(-1)), dtype=np.int64, count=len(ids))
    except TypeError:
        raise LtDetError(
            f"{source} has a detection with a '{key}' that is no single id; write the ids of the ground truth."
        ) from None
    unknown = ids[found < 0].tolist()
    if unknown:
        raise LtDetError(
            f"{len(unknown)} detections of {source} have a '{key}' that the ground truth does not have, the first is "
            f"{unknown[0]!r}; judge them on the json they were predicted on."
        )
    return found


def _mask(outline: Any, size: NDArray[np.int64], image_id: Any, source: object) -> Any:
    """Compressed run lengths of a detection's outline."""
    try:
        if isinstance(outline, list) and not all(abs(number) <= LARGEST for part in outline for number in part):
            raise TypeError
        mask = run_lengths(outline, int(size[0]), int(size[1]))
        height, width = mask["size"]
        if not isinstance(mask["counts"], str | bytes) or not (1 <= height <= LARGEST and 1 <= width <= LARGEST):
            raise TypeError
    except Exception:  # pycocotools raises plain exceptions
        raise LtDetError(
            f"{source} has a detection in image {image_id} with a 'segmentation' that is neither run lengths nor "
            "polygons; correct or drop it."
        ) from None
    return mask


def _check_filled(masks: Sequence[Any], image_ids: NDArray[Any], source: object) -> None:
    """On runs that end before or behind their mask, pycocotools' overlap never ends."""
    for start in range(0, len(masks), _CHECKED_TOGETHER):
        part = masks[start : start + _CHECKED_TOGETHER]
        covered = covered_pixels([mask["counts"] for mask in part])
        sizes = np.asarray([mask["size"] for mask in part], dtype=np.int64)
        for place in np.flatnonzero(covered != sizes.prod(axis=1))[:1].tolist():
            height, width = sizes[place].tolist()
            found = f"add up to {covered[place]}, not to its" if covered[place] >= 0 else "are no run lengths of its"
            raise LtDetError(
                f"{source} has a detection in image {image_ids[start + place]} with a 'segmentation' whose 'counts' "
                f"{found} {height} x {width} pixels; write all runs of the mask, the last one too."
            )
