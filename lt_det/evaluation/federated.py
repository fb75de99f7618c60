"""LVIS's lists: of which classes the annotation of an image says that they are there, or are not."""

from __future__ import annotations

import logging
import os
from typing import Any

from lt_det.errors import LtDetError
from lt_det.evaluation.protocols import Protocol

logger = logging.getLogger(__name__)


def has_lists(images: list[dict[str, Any]]) -> bool:
    """Whether any image says which classes are known not to be in it, as LVIS's do; null says nothing."""
    return any(image.get("neg_category_ids") is not None for image in images)


def check_lists(
    ground_truth: str | os.PathLike[str], images: list[dict[str, Any]], protocol: Protocol, instead: str
) -> None:
    """Raise unless a federated protocol can judge on these images, and warn of those without lists.

    Without lists every detection of a class that is not in its image would be left out, and AP be far too high.

    Args:
        ground_truth: the json.
        images: of it.
        protocol: a federated one.
        instead: what to do where there are no lists, for the error message.

    Raises:
        LtDetError: no image has lists.
    """
    if not has_lists(images):
        raise LtDetError(
            f"{ground_truth} has no neg_category_ids, which the {protocol.name} protocol goes by; {instead}."
        )
    without = sum(image.get("neg_category_ids") is None for image in images)
    if without:
        logger.warning(
            "%d of %d images have no neg_category_ids: detections of classes that are not in them do not count.",
            without,
            len(images),
        )
