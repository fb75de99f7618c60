"""LVIS's federated lists: which classes the annotation of an image says are present or absent."""

from __future__ import annotations

import logging
from typing import Any

from lt_det.errors import LtDetError
from lt_det.evaluation.protocols import COCO, LVIS, Protocol
from lt_det.terminal import warn_once

logger = logging.getLogger(__name__)


def has_lists(images: list[dict[str, Any]]) -> bool:
    """Whether any image lists the classes known to be absent from it, as LVIS's images do; null does not count."""
    return any(image.get("neg_category_ids") is not None for image in images)


def default_protocol(ground_truth: str, images: list[dict[str, Any]]) -> Protocol:
    """LVIS's for images with lists, else COCO's; with a warning if they have LVIS's other list, and not that one."""
    if has_lists(images):
        return LVIS
    if any(image.get("not_exhaustive_category_ids") for image in images):
        warn_once(
            logger,
            f"{ground_truth} has not_exhaustive_category_ids, but no neg_category_ids, so it is evaluated as COCO, "
            "and these lists are ignored; add neg_category_ids if the annotation is LVIS's.",
        )
    return COCO


def check_lists(ground_truth: str, images: list[dict[str, Any]], protocol: Protocol, advice: str) -> None:
    """Raise if a federated protocol cannot be used on these images; warn if lists are missing, or all are empty.

    Without lists every detection of a class without an object in its image would be ignored, and AP would be far too
    high.

    Args:
        ground_truth: name of the ground truth, for messages.
        images: image records of the ground truth.
        protocol: a federated one.
        advice: what the user can do if there are no lists.

    Raises:
        LtDetError: no image has lists.
    """
    if not has_lists(images):
        raise LtDetError(f"{ground_truth} has no neg_category_ids, which the {protocol.name} protocol needs; {advice}.")
    if not any(image.get("neg_category_ids") for image in images):
        logger.warning(
            "The neg_category_ids of %s are empty in every image: detections of classes without an object in their "
            "image are ignored, and AP is too high. If every class is annotated in every image, %s.",
            ground_truth,
            advice,
        )
    without = sum(image.get("neg_category_ids") is None for image in images)
    if without:
        logger.warning(
            "%d of %d images have no neg_category_ids: in them, detections of classes without an object are ignored.",
            without,
            len(images),
        )
    if all(image.get("not_exhaustive_category_ids") is None for image in images):
        warn_once(
            logger,
            f"{ground_truth} has no not_exhaustive_category_ids, so that every detection beyond the annotated objects "
            "of a class is a false positive, as if all objects were annotated; add these lists if the annotations had "
            "them (an empty one for each image says that all are).",
        )
