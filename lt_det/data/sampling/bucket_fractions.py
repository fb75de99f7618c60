"""Which share of the training instances each frequency bucket gets: what the log says of a sampler, in a line each."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lt_det.data.sampling.samplers import ClassAwareTrainingSampler, annotated_classes
from lt_det.statistics.buckets import FrequencyBuckets

logger = logging.getLogger(__name__)


def bucket_shares(
    buckets: FrequencyBuckets, classes: NDArray[np.int64], draws: NDArray[np.float64] | None = None
) -> list[float]:
    """The share of each bucket, in [0, 1].

    Args:
        buckets: of the classes.
        classes: (A,) of each annotation.
        draws: (A,) how often each is drawn, up to a factor; None: all alike.
    """
    counts = np.bincount(classes, draws, minlength=len(buckets.assignment))
    total = counts.sum()
    members = [buckets.members(bucket) for bucket in range(len(buckets.names))]
    return [float(counts[of_bucket].sum() / total) if total else 0.0 for of_bucket in members]


def log_instances(dataset_dicts: Sequence[Mapping[str, Any]], buckets: FrequencyBuckets) -> None:
    """Log the shares where each image is drawn once an epoch.

    Args:
        dataset_dicts: images in Detectron2's form.
        buckets: of the classes.
    """
    _, classes = annotated_classes(dataset_dicts)
    lines = [f"Training set: {len(dataset_dicts)} images with {len(classes)} instances."]
    for bucket, (name, share) in enumerate(zip(buckets.names, bucket_shares(buckets, classes), strict=True)):
        lines.append(f"  {name}: {len(buckets.members(bucket))} classes, {share:.2%} of the instances")
    logger.info("\n".join(lines))


def class_aware_sampler(
    dataset_dicts: Sequence[Mapping[str, Any]], buckets: FrequencyBuckets, *, seed: int | None = None
) -> ClassAwareTrainingSampler:
    """ClassAwareTrainingSampler, and a log entry by bucket that says what it will draw.

    Args:
        dataset_dicts: images in Detectron2's form.
        buckets: of the classes.
        seed: the same in all processes; None: a random one that they share.

    Raises:
        LtDetError: no image has an annotation.
    """
    sampler = ClassAwareTrainingSampler(dataset_dicts, seed)
    images, classes = annotated_classes(dataset_dicts)
    before, after = bucket_shares(buckets, classes), bucket_shares(buckets, classes, sampler.weights()[images])
    drawn = np.bincount(classes, minlength=len(buckets.assignment)) > 0
    lines = [
        f"Class-aware sampling: {drawn.sum()} of {len(drawn)} classes have images; each of them is drawn alike, then "
        "one of its images."
    ]
    for bucket, name in enumerate(buckets.names):
        members = buckets.members(bucket)
        lines.append(
            f"  {name}: {drawn[members].sum()} of {len(members)} classes drawn, "
            f"{before[bucket]:.2%} of the instances before, {after[bucket]:.2%} after"
        )
    logger.info("\n".join(lines))
    return sampler
