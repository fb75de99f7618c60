"""AP-Pool: all classes of a group on one precision-recall curve.

Dave et al., "Evaluating Large-Vocabulary Object Detectors: The Devil is in the Details", section 4,
https://arxiv.org/abs/2102.01066. It asks whether scores mean the same in all classes; AP per class does not.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from lt_det.evaluation.matching.ground_truth import GroundTruth
from lt_det.evaluation.matching.match import Matches
from lt_det.evaluation.metrics.average_precision import curves, limited, objects_that_count
from lt_det.evaluation.protocols import Protocol


def pooled_table(
    truth: GroundTruth, matches: Matches, protocol: Protocol, members: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """As `precision_table`, for the classes `members` taken as one, (T, R, 1, A) and (T, 1, A).

    Ties of scores stand in the order of images, and inside one in that of classes.
    """
    among = np.zeros(truth.num_classes, dtype=np.bool_)
    among[members] = True
    matches = limited(matches, protocol)
    matches = matches.select(among[matches.classes])
    one_class = dataclasses.replace(matches, classes=np.zeros_like(matches.classes))
    return curves(one_class, objects_that_count(truth, protocol)[among].sum(axis=0, keepdims=True))
