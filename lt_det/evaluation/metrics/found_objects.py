"""Which detection is the most confident one on an object, whatever its class and score.

It is what a viewer of the detections sees there, and needs no score threshold: the scores of different losses have
different scales, so one threshold would favor one of them.
"""

from __future__ import annotations

import numpy as np

from lt_det.evaluation._arrays import Floats, Ints
from lt_det.evaluation.matching.detections import Detections
from lt_det.evaluation.matching.ground_truth import GroundTruth
from lt_det.evaluation.matching.iou import box_iou
from lt_det.evaluation.protocols import IOU_THRESHOLDS


def most_confident_detections(truth: GroundTruth, detections: Detections) -> Ints:
    """For each object the detection with the highest score among those whose boxes overlap its box enough for AP50.

    Returns:
        (G,) indices of detections, the first of ties; -1 for none.
    """
    order = np.lexsort((-detections.scores, detections.images))
    start = np.searchsorted(detections.images[order], np.arange(len(truth.image_ids) + 1))
    best = np.full(len(truth.classes), -1, dtype=np.int64)
    for image in np.flatnonzero((np.diff(truth.start) > 0) & (np.diff(start) > 0)).tolist():
        objects = slice(truth.start[image], truth.start[image + 1])
        rows = order[start[image] : start[image + 1]]
        enough = _ious(truth.boxes[objects], detections.boxes[rows]) >= IOU_THRESHOLDS[0]
        best[objects] = np.where(enough.any(axis=1), rows[enough.argmax(axis=1)], -1)
    return best


def _ious(true: Floats, detected: Floats) -> Floats:
    """(G, D) IoU of every pair."""
    shape = (len(true), len(detected), 4)
    of_pairs, true_of_pairs = (
        np.broadcast_to(boxes, shape).reshape(-1, 4) for boxes in (detected[None], true[:, None])
    )
    return box_iou(of_pairs, true_of_pairs, np.zeros(len(of_pairs), dtype=np.bool_)).reshape(shape[:2])
