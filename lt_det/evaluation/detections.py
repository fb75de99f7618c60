"""Detections as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lt_det.errors import LtDetError
from lt_det.evaluation.ground_truth import GroundTruth
from lt_det.evaluation.overlap import run_lengths
from lt_det.evaluation.protocols import Task


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
    def from_results(cls, results: Sequence[dict[str, Any]], truth: GroundTruth, task: Task) -> Detections:
        """COCO results as arrays: image_id, category_id, score, and bbox or, for "segm", segmentation.

        Raises:
            LtDetError: a missing field, or an image or category that the ground truth does not have.
        """
        shape = "bbox" if task == "bbox" else "segmentation"
        for key in ("image_id", "category_id", "score", shape):
            lacking = sum(key not in result for result in results)
            if lacking:
                raise LtDetError(f"{lacking} of {len(results)} detections have no '{key}'; {task} AP needs it in each.")
        images = _indices(results, "image_id", truth.image_ids)
        boxes, masks = np.zeros((len(results), 4)), None
        if task == "bbox":
            boxes = _boxes(results)
        else:
            masks = [_mask(result, truth.sizes[image]) for result, image in zip(results, images, strict=True)]
        scores = np.asarray([result["score"] for result in results], dtype=np.float64)
        return cls(images, _indices(results, "category_id", truth.category_ids), scores, boxes, masks)

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


def _indices(results: Sequence[dict[str, Any]], key: str, known: NDArray[Any]) -> NDArray[np.int64]:
    index = {id_: i for i, id_ in enumerate(known.tolist())}
    try:
        found = [index.get(result[key], -1) for result in results]
    except TypeError:
        raise LtDetError(
            f"A detection has a '{key}' that is no single id; write the ids of the ground truth."
        ) from None
    unknown = [result[key] for result, place in zip(results, found, strict=True) if place < 0]
    if unknown:
        raise LtDetError(
            f"{len(unknown)} detections have a '{key}' that the ground truth does not have, the first is "
            f"{unknown[0]!r}; judge them on the json they were predicted on."
        )
    return np.asarray(found, dtype=np.int64)


def _boxes(results: Sequence[dict[str, Any]]) -> NDArray[np.float64]:
    try:
        boxes = np.asarray([result["bbox"] for result in results], dtype=np.float64).reshape(-1, 4)
        fits = len(boxes) == len(results) and bool(np.isfinite(boxes).all())
    except (TypeError, ValueError, OverflowError):
        fits = False
    if not fits:
        raise LtDetError("A detection has a 'bbox' that is not four finite numbers; write x, y, width and height.")
    return boxes


def _mask(result: dict[str, Any], size: NDArray[np.int64]) -> Any:
    """Compressed run lengths of a detection's outline."""
    outline = result["segmentation"]
    try:
        mask = run_lengths(outline, int(size[0]), int(size[1]))
        if not isinstance(mask["counts"], str | bytes) or [int(side) < 1 for side in mask["size"]] != [False, False]:
            raise TypeError
    except Exception:  # pycocotools raises plain exceptions
        raise LtDetError(
            f"A detection in image {result['image_id']} has a 'segmentation' that is neither run lengths nor polygons."
        ) from None
    return mask
