"""What fraction of the training instances a sampler takes from each frequency bucket, for the log."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lt_det.data.sampling.samplers import ClassAwareTrainingSampler, annotated_classes
from lt_det.statistics.buckets import FrequencyBuckets

logger = logging.getLogger(__name__)


def bucket_fractions(
    buckets: FrequencyBuckets, classes: NDArray[np.int64], draws: NDArray[np.float64] | None = None
) -> list[float]:
    """The fraction of the drawn instances in each bucket, in [0, 1].

    Args:
        buckets: frequency buckets of the classes.
        classes: (A,) class of each annotation.
        draws: (A,) how often each annotation is drawn, up to a factor; None: all equally often.
    """
    counts = np.bincount(classes, draws, minlength=len(buckets.assignment))
    total = counts.sum()
    members = [buckets.members(bucket) for bucket in range(len(buckets.names))]
    return [float(counts[indices].sum() / total) if total else 0.0 for indices in members]


def log_instances(dataset_dicts: Sequence[Mapping[str, Any]], buckets: FrequencyBuckets) -> None:
    """Log the fractions for a sampler that draws each image once per epoch.

    Args:
        dataset_dicts: images in Detectron2's form.
        buckets: frequency buckets of the classes.
    """
    _, classes = annotated_classes(dataset_dicts)
    lines = [f"Training set: {len(dataset_dicts)} images with {len(classes)} instances."]
    for bucket, (name, fraction) in enumerate(zip(buckets.names, bucket_fractions(buckets, classes), strict=True)):
        lines.append(f"  {name}: {len(buckets.members(bucket))} classes, {fraction:.2%} of the instances")
    logger.info("\n".join(lines))


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
