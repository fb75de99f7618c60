"""What class counts leave a loss to balance: sentences for the start of a training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from lt_det.terminal import count_of

if TYPE_CHECKING:
    from lt_det.statistics.class_stats import ClassStats


def equal_counts(loss: str, stats: ClassStats) -> str:
    """Say that a loss has nothing to balance, because all classes have as many instances; empty if it has.

    Args:
        loss: its name.
        stats: class counts of the training set; those without instances count as one, as for the losses.
    """
    if stats.num_classes == 1:
        return f"There is only one class, so {loss} has nothing to balance."
    if stats.instance_counts is None:
        return ""
    counts = np.maximum(stats.instance_counts, 1)
    if counts.min() < counts.max():
        return ""
    return (
        f"All {stats.num_classes} classes have the same number of training instances, {counts[0]}, so {loss} has no "
        "rare class to favor."
    )


def tail_threshold(
    loss: str, is_tail: Tensor, threshold: float | None, default_images: float, stats: ClassStats
) -> str:
    """Say that a threshold makes no class or every class a tail class, and name one that divides them; else empty.

    Classes without training images, which every threshold above 0 makes tail classes, do not count.

    Args:
        loss: name of its config node.
        is_tail: (K,) bool.
        threshold: fraction of the training images below which a class is tail; None for `default_images`. 0 is the
            documented way to have no tail class.
        default_images: number of images below which a class is tail without a threshold.
        stats: class counts of the training set.
    """
    # Counts come from this package; losses with counts in memory do not need it.
    from lt_det.statistics.bucket_advice import frequency_threshold, suggested_edges

    if stats.num_classes == 1:
        return f"There is only one class, so {loss} has nothing to balance."
    counts, seen = stats.image_counts, stats.image_counts > 0
    tail = is_tail.cpu().numpy() & seen
    if threshold == 0 or not seen.any() or 0 < tail.sum() < seen.sum():
        return ""
    default = f" (the default: {default_images:g} of {stats.num_images} images)" if threshold is None else ""
    used = default_images / stats.num_images if threshold is None else threshold
    key = f"MODEL.LONG_TAIL.LOSS.{loss}.FREQUENCY_THRESHOLD"
    if tail.any():
        extreme = int(counts.argmax())
        found = f"{loss} makes every class a tail class: each is in a smaller fraction of the training images than"
        rank = "the most frequent"
    else:
        extreme = int(np.where(seen, counts, counts.max() + 1).argmin())
        found = f"{loss} has no tail class to protect: none is in a smaller fraction of the training images than"
        rank = "the rarest"
    sentence = (
        f"{found} {used:.3g}{default}; {rank}, {stats.names[extreme]}, is in {counts[extreme] / stats.num_images:.3g} "
        f"({count_of(int(counts[extreme]), 'image')})."
    )
    edges = suggested_edges(counts)
    if not edges:
        return (
            f"{sentence} All classes are in the same number of images, so no threshold divides them; use another loss."
        )
    below = int(((counts <= edges[-1]) & seen).sum())
    value = frequency_threshold(counts, edges[-1], stats.num_images)
    return (
        f"{sentence} Set {key} to {value}, which makes {below} of {int(seen.sum())} classes tail classes, or use "
        "another loss."
    )
