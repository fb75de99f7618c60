"""Detections as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lt_det.errors import LtDetError
from lt_det.evaluation.ground_truth import GroundTruth
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
        boxes = [result["bbox"] for result in results] if task == "bbox" else np.zeros((len(results), 4))
        return cls(
            _indices([result["image_id"] for result in results], truth.image_ids, "image"),
            _indices([result["category_id"] for result in results], truth.category_ids, "category"),
            np.asarray([result["score"] for result in results], dtype=np.float64),
            np.asarray(boxes, dtype=np.float64).reshape(-1, 4),
            [result["segmentation"] for result in results] if task == "segm" else None,
        )

    def select(self, which: NDArray[Any]) -> Detections:
        """Those of an index or bool array, in its order."""
        masks = self.masks
        if masks is not None:
            chosen = np.flatnonzero(which) if which.dtype == np.bool_ else which
            masks = [masks[i] for i in chosen.tolist()]
        return Detections(self.images[which], self.classes[which], self.scores[which], self.boxes[which], masks)


def _indices(ids: Sequence[Any], known: NDArray[Any], what: str) -> NDArray[np.int64]:
    given = np.asarray(ids, dtype=known.dtype if not ids else None)
    if given.dtype.kind != known.dtype.kind and len(given):
        raise LtDetError(f"The {what} ids of the detections are of another type than those of the ground truth.")
    found = np.minimum(np.searchsorted(known, given), len(known) - 1).astype(np.int64)
    missing = np.flatnonzero(known[found] != given)
    if len(missing):
        raise LtDetError(
            f"{len(missing)} detections have {what} ids that the ground truth does not have, the first is "
            f"{given[missing[0]]}; judge them on the json they were predicted on."
        )
    return found
