"""Which objects a detector finds, where every detector may make equally many detections.

Scores of different detectors have different scales, so one score threshold would favor one of them. Here the n most
confident detections of each class count, where n is the number of its objects: as in R-precision, a class whose
detections are all right finds all its objects.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lt_det.evaluation._arrays import Bools, Floats, descending_order, rank_in_group, stable_by_key
from lt_det.evaluation.context import EvaluationContext
from lt_det.evaluation.matching.assignment import matched_at
from lt_det.evaluation.matching.detections import Detections
from lt_det.evaluation.matching.match import match
from lt_det.evaluation.metrics.average_precision import within_image_limits


@dataclass(frozen=True, eq=False)
class FoundObjects:
    """
    Attributes:
        found: (G,) whether each object of `EvaluationContext.objects` is found; False for those that need not be.
        lowest_score: (K,) the lowest score among the detections of each class that count; infinite if there are none.
    """

    found: Bools
    lowest_score: Floats


def find_objects(context: EvaluationContext, detections: Detections) -> FoundObjects:
    """Match boxes as AP50 does, and count the n most confident ones of each class with n objects.

    Detections that AP50 ignores do not count: those beyond the protocol's limits, of classes about which an LVIS
    annotation says nothing, or that match an object that need not be found.

    Args:
        context: of the whole set.
        detections: all boxes of it.
    """
    matches = match(context, detections, "bbox")
    index, is_tp = matched_at(matches.matched, matches.ignored, 0, 0)
    matching = matches.overlapping[index]
    counts = matches.fp_if_unmatched[:, 0].copy()
    counts[matching] = is_tp
    objects = np.full(len(matches), -1, dtype=np.int64)
    objects[matching[is_tp]] = matches.objects[index[is_tp]]
    kept = np.flatnonzero(counts & within_image_limits(matches, context.protocol))
    order = kept[stable_by_key(descending_order(matches.scores[kept]), matches.classes[kept], context.num_classes)]
    classes = matches.classes[order]
    order = order[rank_in_group(classes) < context.num_objects[classes, 0]]
    found = np.zeros(len(context.objects.classes), dtype=np.bool_)
    found[objects[order][objects[order] >= 0]] = True
    lowest_score = np.full(context.num_classes, np.inf)
    np.minimum.at(lowest_score, matches.classes[order], matches.scores[order])
    return FoundObjects(found, lowest_score)
