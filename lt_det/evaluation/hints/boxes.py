"""Boxes in another convention than the one that the input has: corners, centers, fractions of the image, and so on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lt_det.evaluation._arrays import Floats, Ints
from lt_det.evaluation.hints.displaced import displaced_hint, nowhere_hint
from lt_det.evaluation.hints.resized import resized_hint
from lt_det.evaluation.hints.sample import Sample, is_better
from lt_det.evaluation.matching.detections import Detections
from lt_det.evaluation.matching.ground_truth import GroundTruth

_MIN_OUTSIDE = 0.2  # fraction of the boxes
_MIN_NUMBER = 3

# (N, 4) numbers as they are written, to x, y, width, height.
_FORMS: dict[str, Callable[[Floats], Floats]] = {
    "x, y, width, height": lambda box: box,
    "corners x1, y1, x2, y2": lambda box: np.concatenate([box[:, :2], box[:, 2:] - box[:, :2]], axis=1),
    "centers x, y with width, height": lambda box: np.concatenate([box[:, :2] - box[:, 2:] / 2, box[:, 2:]], axis=1),
    "corners y1, x1, y2, x2": lambda box: np.stack(
        [box[:, 1], box[:, 0], box[:, 3] - box[:, 1], box[:, 2] - box[:, 0]], axis=1
    ),
    "y, x, height, width": lambda box: box[:, [1, 0, 3, 2]],
}
WRITTEN_AS = {"xywh": "x, y, width, height", "xyxy": "corners x1, y1, x2, y2"}

# How often the unit goes into the side of an image; None for pixels.
_UNITS: dict[str, float | None] = {
    "pixels": None,
    "fractions of the image": 1.0,
    "percent of the image": 100.0,
    "thousandths of the image": 1000.0,
}


def box_hint(detections: Detections, truth: GroundTruth, written_as: str, sample: Sample) -> str | None:
    """A sentence if boxes fit another convention better, or if they fit none and many lie outside their images.

    Args:
        detections: boxes.
        truth: their images and objects.
        written_as: key of `WRITTEN_AS`, the convention that the input has.
        sample: of the detections, with the boxes as they are written.
    """
    own_form = WRITTEN_AS[written_as]
    known = bool((sample.sizes > 0).all())
    sides = np.tile(sample.sizes[:, ::-1], 2).astype(np.float64)  # width, height, width, height
    counts = {}
    for form, to_xywh in _FORMS.items():
        for unit, parts in _UNITS.items():
            if parts is None:
                boxes = to_xywh(sample.boxes)
            elif known:
                boxes = to_xywh(sample.boxes / parts) * sides
            else:
                continue
            counts[form, unit] = sample.count(sample.overlaps(boxes))
    as_written = counts.pop((own_form, "pixels"))
    (form, unit), best = max(counts.items(), key=lambda entry: entry[1])
    if hint := displaced_hint(sample, _FORMS[own_form](sample.boxes), as_written, best):
        return hint
    if is_better(best, as_written, len(sample)):
        return (
            f"Of the {len(sample)} highest-scoring boxes, {as_written} overlap an object as {own_form} in pixels (IoU "
            f"0.5 or more), but {best} as {form} in {unit}; write them as {own_form} in pixels."
        )
    if as_written > len(sample) / 2:
        return None
    if known and (hint := resized_hint(sample, _FORMS[own_form](sample.boxes), as_written)):
        return hint
    outside, total = _outside(detections, truth)
    if outside >= max(_MIN_NUMBER, _MIN_OUTSIDE * total):
        return (
            f"{outside} of {total} boxes lie mostly outside their images; write {own_form} in pixels of the original "
            "image (with the size in the ground truth), not of the resized one."
        )
    return nowhere_hint(sample, _FORMS[own_form](sample.boxes), detections.images[sample.detections], as_written)


def _outside(detections: Detections, truth: GroundTruth) -> tuple[int, int]:
    """How many boxes are mostly outside their image; and of how many, whose area and image size are known."""
    sizes: Ints = truth.sizes[detections.images]
    boxes = detections.boxes
    counted = (sizes > 0).all(axis=1) & (boxes[:, 2:] > 0).all(axis=1)
    boxes, ends = boxes[counted], sizes[counted][:, ::-1]
    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    inside = (np.minimum(high, ends) - np.maximum(low, 0)).clip(0)
    with np.errstate(over="ignore"):
        mostly = inside.prod(axis=1) < boxes[:, 2:].prod(axis=1) / 2
    return int(mostly.sum()), len(boxes)
