"""AP-Pool: one precision-recall curve for all classes of a group.

Dave et al., "Evaluating Large-Vocabulary Object Detectors: The Devil is in the Details", section 4,
https://arxiv.org/abs/2102.01066. Unlike AP per class, it depends on whether scores are comparable across classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from lt_det.evaluation._arrays import Ints
from lt_det.evaluation.context import EvaluationContext
from lt_det.evaluation.matching.match import Matches
from lt_det.evaluation.metrics.average_precision import AreaTable, area_tables


def pooled_tables(context: EvaluationContext, matches: Matches, members: Ints) -> Iterator[AreaTable]:
    """As `area_tables`, with the classes `members` as a single class.

    Ties of scores are sorted by image, and within an image by class.
    """
    in_group = np.zeros(context.num_classes, dtype=np.bool_)
    in_group[members] = True
    matches = matches.select(in_group[matches.classes])
    one_class = dataclasses.replace(matches, classes=np.zeros_like(matches.classes))
    return area_tables(one_class, context.num_objects[in_group].sum(axis=0, keepdims=True))
