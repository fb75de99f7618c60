"""Class-aware sampling, with a log entry by frequency bucket."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lt_det.data.sampling.bucket_fractions import sampling_lines
from lt_det.data.sampling.samplers import ClassAwareTrainingSampler, annotated_classes
from lt_det.statistics.buckets import FrequencyBuckets

logger = logging.getLogger(__name__)


def class_aware_sampler(
    dataset_dicts: Sequence[Mapping[str, Any]], buckets: FrequencyBuckets, *, seed: int | None = None
) -> ClassAwareTrainingSampler:
    """A ClassAwareTrainingSampler, and a log entry that says what it will draw from each bucket.

    Args:
        dataset_dicts: images in Detectron2's form.
        buckets: frequency buckets of the classes.
        seed: the same in all processes; None: a random seed that they share.

    Raises:
        LtDetError: no image has an annotation.
    """
    sampler = ClassAwareTrainingSampler(dataset_dicts, seed)
    images, classes = annotated_classes(dataset_dicts)
    drawn = np.bincount(classes, minlength=len(buckets.assignment)) > 0
    lines = [
        f"Class-aware sampling: {drawn.sum()} of {len(drawn)} classes have images; one of them is drawn, all with "
        "the same probability, then one of its images."
    ]
    logger.info("\n".join(lines + sampling_lines(buckets, classes, sampler.weights()[images], drawn, "drawn")))
    return sampler
