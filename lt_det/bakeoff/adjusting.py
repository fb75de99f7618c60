"""Post-hoc adjustment of classifiers that a bake-off has trained, or of the detector's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from lt_det.bakeoff.detector import Classifiers, ClassifierStates, with_classifiers
from lt_det.errors import LtDetError
from lt_det.modeling import LongTailPredictor
from lt_det.modeling.post_hoc_adjustment import METHODS, adjusted
from lt_det.statistics.class_stats import ClassStats


def adjusted_classifiers(
    own: Sequence[LongTailPredictor],
    cfg: Any,
    trained: Classifiers,
    method: str,
    values: Sequence[float],
    stats: ClassStats,
) -> dict[float, ClassifierStates]:
    """The classifiers after post-hoc adjustment, by value.

    Args:
        own: the box predictors of the detector.
        cfg: the config that `trained` was trained with; it evaluates and writes the adjusted classifiers, too.
        trained: classifiers and losses of all stages.
        method: a key of `METHODS`.
        values: strengths, tau or gamma; 0 changes nothing.
        stats: counts of the training set.

    Raises:
        LtDetError: unknown method, one that is not defined for this classifier, or counts that are not known.
    """
    if method not in METHODS:
        raise LtDetError(f"There is no post-hoc method '{method}'; write one of {', '.join(METHODS)}.")
    by = METHODS[method]
    counts = None if by is None else torch.as_tensor(stats.training_counts(by))
    stages = with_classifiers(own, cfg, trained)
    losses = ClassifierStates.of(stages).losses
    return {
        value: ClassifierStates([adjusted(s.cls_score, s.loss, method, value, counts) for s in stages], losses)
        for value in values
    }
