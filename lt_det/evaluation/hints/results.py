"""All hints about one set of results."""

from __future__ import annotations

import dataclasses

import numpy as np

from lt_det.errors import LtDetError
from lt_det.evaluation.hints.boxes import WRITTEN_AS, box_hint
from lt_det.evaluation.hints.category_ids import category_hint
from lt_det.evaluation.hints.image_id_readings import ImageIds
from lt_det.evaluation.hints.image_ids import image_hint
from lt_det.evaluation.hints.sample import Sample
from lt_det.evaluation.hints.scores import score_hints
from lt_det.evaluation.matching.detections import Detections
from lt_det.evaluation.matching.ground_truth import GroundTruth

_MIN_FRACTION = 0.1  # of the detections: so many that match nothing are a mistake of the format
_MIN_NUMBER = 3


def result_hints(
    detections: Detections, truth: GroundTruth, written_as: str, class_indices: bool = False, *, images: ImageIds
) -> list[str]:
    """Sentences about boxes, ids and scores that look as if they followed another convention.

    Args:
        detections: boxes.
        truth: their images and objects.
        written_as: key of `WRITTEN_AS`, the convention that the input has.
        class_indices: whether the input has class indices in place of category ids.
        images: of the ground truth.
    """
    if not len(detections):
        return []
    sample = as_written = Sample.of(detections, detections.boxes, truth)
    if written_as == "xyxy":
        boxes = np.concatenate([detections.boxes[:, :2], detections.boxes[:, :2] + detections.boxes[:, 2:]], axis=1)
        as_written = dataclasses.replace(sample, boxes=boxes[sample.detections])
    hint = (
        image_hint(detections, images, sample)
        or box_hint(detections, truth, written_as, as_written)
        or category_hint(detections, None if class_indices else truth.category_ids.tolist(), sample)
    )
    hints = [] if hint is None else [hint]
    return hints + score_hints(detections)


def check_empty_boxes(detections: Detections, written_as: str, source: object, hints: list[str]) -> None:
    """
    Args:
        detections: boxes.
        written_as: key of `WRITTEN_AS`.
        source: what they come from, for the message.
        hints: see `result_hints`; the first is part of the message.

    Raises:
        LtDetError: 10 % or more of the boxes, and three or more, have no width or no height.
    """
    empty = int((detections.boxes[:, 2:] <= 0).any(axis=1).sum())
    if _are_many(empty, len(detections)):
        advice = hints[0] if hints else f"Write {WRITTEN_AS[written_as]} in pixels."
        raise LtDetError(
            f"{source}: {empty} of {len(detections)} boxes have no width or no height, and match nothing. {advice}"
        )


def check_mask_sizes(detections: Detections, truth: GroundTruth, source: object) -> None:
    """
    Args:
        detections: masks.
        truth: their images.
        source: what they come from, for the message.

    Raises:
        LtDetError: 10 % or more of the masks, and three or more, do not have the size of their image.
    """
    if not detections.masks:
        return
    sizes = np.asarray([mask["size"] for mask in detections.masks])
    expected = truth.sizes[detections.images]
    other = (sizes != expected).any(axis=1)
    if _are_many(int(other.sum()), len(sizes)):
        is_turned = (sizes[other] == expected[other][:, ::-1]).all()
        turned = " They have width and height in each other's place." if is_turned else ""
        first = np.flatnonzero(other)[0]
        raise LtDetError(
            f"{source}: {other.sum()} of {len(sizes)} masks do not have the size of their image, and match nothing; "
            f"the first has {' x '.join(map(str, sizes[first]))} pixels, not {' x '.join(map(str, expected[first]))}."
            f"{turned} Write masks of height x width pixels of the image."
        )


def _are_many(number: int, total: int) -> bool:
    return number >= max(_MIN_FRACTION * total, _MIN_NUMBER)
