"""AP-Pool: one precision-recall curve for all classes of a group.

Dave et al., "Evaluating Large-Vocabulary Object Detectors: The Devil is in the Details", section 4,
https://arxiv.org/abs/2102.01066. Unlike AP per class, it depends on whether scores are comparable across classes.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from lt_det.evaluation._arrays import Floats, Ints
from lt_det.evaluation.context import EvaluationContext
from lt_det.evaluation.matching.match import Matches
from lt_det.evaluation.metrics.average_precision import precision_recall


def pooled_table(context: EvaluationContext, matches: Matches, members: Ints) -> tuple[Floats, Floats]:
    """As `precision_table`, with the classes `members` as a single class: (T, R, 1, A) and (T, 1, A).

    Ties of scores are sorted by image, and within an image by class.
    """
    in_group = np.zeros(context.num_classes, dtype=np.bool_)
    in_group[members] = True
    matches = matches.select(in_group[matches.classes])
    one_class = dataclasses.replace(matches, classes=np.zeros_like(matches.classes))
    return precision_recall(one_class, context.num_objects[in_group].sum(axis=0, keepdims=True))
