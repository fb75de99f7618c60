"""What fraction of the training instances a sampler takes from each frequency bucket, for the log."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lt_det.data.sampling.samplers import annotated_classes
from lt_det.statistics.buckets import FrequencyBuckets
from lt_det.terminal import count_of

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


def sampling_lines(
    buckets: FrequencyBuckets,
    classes: NDArray[np.int64],
    draws: NDArray[np.float64],
    counted: NDArray[np.bool_],
    what: str,
) -> list[str]:
    """A line of the log for each bucket: how many of its classes are `counted`, and its fraction of the instances.

    Args:
        buckets: frequency buckets of the K classes.
        classes, draws: see `bucket_fractions`.
        counted: (K,) the classes to count.
        what: what is true of them, such as "drawn".
    """
    before, after = bucket_fractions(buckets, classes), bucket_fractions(buckets, classes, draws)
    lines = []
    for bucket, name in enumerate(buckets.names):
        members = buckets.members(bucket)
        if not len(members):
            continue
        lines.append(
            f"  {name}: {counted[members].sum()} of {count_of(len(members), 'class')} {what}, "
            f"{before[bucket]:.2%} of the instances before, {after[bucket]:.2%} after"
        )
    return lines


def log_instances(dataset_dicts: Sequence[Mapping[str, Any]], buckets: FrequencyBuckets) -> None:
    """Log the fractions for a sampler that draws each image once per epoch.

    Args:
        dataset_dicts: images in Detectron2's form.
        buckets: frequency buckets of the classes.
    """
    _, classes = annotated_classes(dataset_dicts)
    sizes, fractions = buckets.sizes(), bucket_fractions(buckets, classes)
    lines = [f"Training set: {count_of(len(dataset_dicts), 'image')} with {count_of(len(classes), 'instance')}."]
    for name, size, fraction in zip(buckets.names, sizes, fractions, strict=True):
        if size:
            lines.append(f"  {name}: {count_of(size, 'class')}, {fraction:.2%} of the instances")
    logger.info("\n".join(lines))
