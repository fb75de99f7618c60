"""Masks with rows and columns exchanged, in pixels of a resized image, as fractions, or without a pixel."""

from __future__ import annotations

import dataclasses

import numpy as np
from pycocotools import mask as mask_utils

from lt_det.evaluation.hints.category_ids import category_hint
from lt_det.evaluation.hints.image_id_readings import ImageIds
from lt_det.evaluation.hints.image_ids import image_hint
from lt_det.evaluation.hints.resized import resized_hint
from lt_det.evaluation.hints.sample import Sample, is_better
from lt_det.evaluation.hints.scores import score_hints
from lt_det.evaluation.matching.detections import Detections
from lt_det.evaluation.matching.ground_truth import GroundTruth

_MIN_EMPTY = 0.5  # fraction of the sample
_MIN_NUMBER = 3


def mask_hints(detections: Detections, truth: GroundTruth, masks_only: bool, *, images: ImageIds) -> list[str]:
    """Sentences about masks that look as if they followed another convention.

    Args:
        detections: masks of the sizes of their images.
        truth: their images and objects.
        masks_only: whether there is no evaluation of boxes, which would say what is wrong with ids and scores.
        images: of the ground truth.
    """
    if not detections.masks:
        return []
    sample = Sample.of(detections, detections.boxes, truth)
    hints: list[str] = []
    if len(sample):
        boxes = mask_utils.toBbox([detections.masks[index] for index in sample.detections.tolist()])
        sample = dataclasses.replace(sample, boxes=np.asarray(boxes, dtype=np.float64))
        hint = image_hint(detections, images, sample) if masks_only else None
        hint = hint or _shape_hint(sample)
        if hint is None and masks_only:
            hint = category_hint(detections, truth.category_ids.tolist(), sample)
        hints = [] if hint is None else [hint]
    return hints + (score_hints(detections) if masks_only else [])


def _shape_hint(sample: Sample) -> str | None:
    """
    Args:
        sample: with the boxes around the masks.
    """
    boxes, total = sample.boxes, len(sample)
    empty = int((boxes[:, :2] + boxes[:, 2:] <= 1).all(axis=1).sum())
    if empty >= max(_MIN_EMPTY * total, _MIN_NUMBER):
        return (
            f"Of the {total} highest-scoring masks, {empty} are empty or lie within the first pixel of their image; "
            "write polygons in pixels, not in fractions of the image, and threshold masks before you encode them as "
            "RLE (a detector that has hardly been trained predicts empty masks, too)."
        )
    as_written, exchanged = (sample.count(sample.overlaps(boxes[:, order])) for order in ([0, 1, 2, 3], [1, 0, 3, 2]))
    if is_better(exchanged, as_written, total):
        return (
            f"Of the {total} highest-scoring masks, {as_written} overlap an object (IoU of boxes 0.5 or more), but "
            f"{exchanged} would with x and y exchanged; write polygons as x, y, x, y, ..., and RLE column by column, "
            "which pycocotools does for arrays in Fortran order."
        )
    return None if as_written > total / 2 else resized_hint(sample, boxes, as_written, "masks")
