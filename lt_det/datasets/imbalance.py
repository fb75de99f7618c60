"""Image counts of the classes of an artificial long tail.

The two kinds of imbalance of the long-tailed CIFAR of Cui et al., "Class-Balanced Loss Based on Effective Number of
Samples" (2019), and Cao et al., "Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss" (2019), with
the same truncation: CIFAR-10 at ratio 100 has 5000, 2997, 1796, ..., 50 images.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from lt_det.errors import LtDetError

IMBALANCE_KINDS = ("exponential", "step")

_ROUNDING = 1e-9  # relative; 5000 * 100 ** -1.0 must not become 49


def target_counts(kind: str, ratio: float, num_classes: int, largest: int) -> list[int]:
    """The images of each class, in descending order.

    Args:
        kind, ratio, num_classes: see `relative_counts`.
        largest: n_max, the images of the largest class.

    Returns:
        K counts, rounded down. None is below 1: n_max < R gives a smaller ratio than R.

    Raises:
        LtDetError: n_max is below 1; see also `relative_counts`.
    """
    if largest < 1:
        raise LtDetError(f"The largest class of an imbalance has {largest} images; give it at least 1.")
    relative = relative_counts(kind, ratio, num_classes)
    return [max(1, math.floor(largest * fraction * (1 + _ROUNDING))) for fraction in relative]


def relative_counts(kind: str, ratio: float, num_classes: int) -> list[float]:
    """The images of each class divided by those of the largest: n_k / n_max, in descending order.

    exponential: R^(-k / (K - 1)), for k = 0, ..., K - 1.
    step: 1 for the first K // 2 classes and 1 / R for the others. LDAM's code (https://github.com/kaidic/LDAM-DRW) has
    K // 2 large classes, too, and for an odd K leaves out the last of the small ones. One class is a large one.

    Args:
        kind: "exponential" or "step".
        ratio: R, the largest count divided by the smallest; at least 1.
        num_classes: K.

    Raises:
        LtDetError: the kind is unknown, the ratio is not a number of at least 1, or K is below 1.
    """
    check_kind(kind)
    check_ratio(ratio)
    if num_classes < 1:
        raise LtDetError(f"An imbalance of {num_classes} classes is not possible; take at least 1.")
    if kind == "step":
        head = max(num_classes // 2, 1)
        powers = [0.0] * head + [1.0] * (num_classes - head)
    else:
        powers = [k / max(num_classes - 1, 1) for k in range(num_classes)]
    return [ratio**-power for power in powers]


def check_kind(kind: str, kinds: Sequence[str] = IMBALANCE_KINDS) -> None:
    """Check the kind of an imbalance.

    Raises:
        LtDetError: it is not one of `kinds`.
    """
    if kind not in kinds:
        raise LtDetError(f"The imbalance '{kind}' is unknown; choose {', '.join(kinds[:-1])} or {kinds[-1]}.")


def check_ratio(ratio: float) -> None:
    """Check the ratio of an imbalance.

    Raises:
        LtDetError: it is not a number of at least 1.
    """
    if not (math.isfinite(ratio) and ratio >= 1):
        raise LtDetError(
            f"The imbalance ratio is {ratio:g}; it is the largest image count divided by the smallest, so write a "
            "number of at least 1, such as 100."
        )
