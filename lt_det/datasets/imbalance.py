"""Image counts of the classes of an artificial long tail.

The two kinds of imbalance of the long-tailed CIFAR of Cui et al., "Class-Balanced Loss Based on Effective Number of
Samples" (2019), and Cao et al., "Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss" (2019), with
the same truncation: CIFAR-10 at ratio 100 has 5000, 2997, 1796, ..., 50 images.
"""

from __future__ import annotations

import math

from lt_det.errors import LtDetError

IMBALANCE_KINDS = ("exponential", "step")

_ROUNDING = 1e-9  # relative; 5000 * 100 ** -1.0 must not become 49


def target_counts(kind: str, ratio: float, num_classes: int, largest: int) -> list[int]:
    """The images of each class, in descending order.

    exponential: n_k = n_max * R^(-k / (K - 1)), for k = 0, ..., K - 1.
    step: n_max for the first half of the classes and n_max / R for the others; of an odd number of classes, the one in
    the middle has n_max.

    Args:
        kind: "exponential" or "step".
        ratio: R, the largest count divided by the smallest; at least 1.
        num_classes: K.
        largest: n_max, the images of the largest class.

    Returns:
        K counts, rounded down. None is below 1: n_max < R gives a smaller ratio than R.

    Raises:
        LtDetError: the kind is unknown, the ratio is not a number of at least 1, or K or n_max is below 1.
    """
    if kind not in IMBALANCE_KINDS:
        raise LtDetError(f"The imbalance '{kind}' is unknown; choose {' or '.join(IMBALANCE_KINDS)}.")
    if not (math.isfinite(ratio) and ratio >= 1):
        raise LtDetError(
            f"The imbalance ratio is {ratio:g}; it is the largest image count divided by the smallest, so write a "
            "number of at least 1, such as 100."
        )
    if num_classes < 1 or largest < 1:
        raise LtDetError(
            f"An imbalance of {num_classes} classes with at most {largest} images is not possible; both numbers must "
            "be at least 1."
        )
    if kind == "step":
        head = (num_classes + 1) // 2
        powers = [0.0] * head + [1.0] * (num_classes - head)
    else:
        powers = [k / max(num_classes - 1, 1) for k in range(num_classes)]
    return [max(1, math.floor(largest * ratio**-power * (1 + _ROUNDING))) for power in powers]
