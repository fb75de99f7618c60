"""The first detections of an evaluation that gets them image by image, kept for the hints at its end."""

from __future__ import annotations

import dataclasses
import logging

import numpy as np

from lt_det.evaluation.hints.image_id_readings import ImageIds
from lt_det.evaluation.hints.results import result_hints
from lt_det.evaluation.matching.detections import Detections
from lt_det.evaluation.matching.ground_truth import GroundTruth

logger = logging.getLogger(__name__)

_KEPT = 20_000  # detections: hints need some hundred images, and not the whole set


class FirstDetections:
    """Boxes as corners, as models predict them, with the ids of their images and classes."""

    def __init__(self) -> None:
        self._parts: list[Detections] = []
        self._number = 0

    def add(self, detections: Detections, truth: GroundTruth) -> None:
        """Keep boxes, classes and scores, unless there are enough.

        Args:
            detections: of some images, indices of `truth`.
            truth: of these images, or of more.
        """
        if len(detections) and self._number < _KEPT:
            ids, labels = truth.image_ids[detections.images], truth.category_ids[detections.classes]
            kept = dataclasses.replace(detections, images=ids, classes=labels, masks=None, areas=None)
            self._parts.append(kept)
            self._number += len(detections)

    def log_hints(self, truth: GroundTruth, source: str, images: ImageIds, *, class_indices: bool) -> None:
        """Log what looks like another convention of boxes, classes or scores.

        Args:
            truth: of all images.
            source: what has predicted them, for the messages.
            images: of the ground truth.
            class_indices: whether the model predicts class indices, and not category ids.
        """
        if not self._parts:
            return
        kept = Detections.concatenate(self._parts)
        order = np.argsort(truth.category_ids)
        classes = order[np.searchsorted(truth.category_ids, kept.classes, sorter=order)]
        found = dataclasses.replace(kept, images=np.searchsorted(truth.image_ids, kept.images), classes=classes)
        for hint in result_hints(found, truth, "xyxy", class_indices, images=images):
            logger.warning("%s: %s", source, hint)
