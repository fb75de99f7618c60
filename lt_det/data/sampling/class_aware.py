"""Class-aware sampling, with a log entry by frequency bucket."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lt_det.data.sampling.bucket_fractions import bucket_fractions
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
    before, after = bucket_fractions(buckets, classes), bucket_fractions(buckets, classes, sampler.weights()[images])
    drawn = np.bincount(classes, minlength=len(buckets.assignment)) > 0
    lines = [
        f"Class-aware sampling: {drawn.sum()} of {len(drawn)} classes have images; one of them is drawn, all with "
        "the same probability, then one of its images."
    ]
    for bucket, name in enumerate(buckets.names):
        members = buckets.members(bucket)
        lines.append(
            f"  {name}: {drawn[members].sum()} of {len(members)} classes drawn, "
            f"{before[bucket]:.2%} of the instances before, {after[bucket]:.2%} after"
        )
    logger.info("\n".join(lines))
    return sampler
