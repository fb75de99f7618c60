"""How many images of `mini_lvis` show each class.

Without an imbalance, the k-th most frequent of K classes occurs in round(h * (3 / h) ** (k / (K - 1))) training images:
from h images to 3, so that LVIS's rare (1-10 images), common (11-100) and frequent (more than 100) buckets all have
classes. Up to 62 classes h is half of the images; with more, the largest value with which an image has 5 classes on
average. The validation set is more balanced, so that the AP of rare classes does not depend on one or two objects.

With an imbalance, every class is in the same number of validation images, as in the papers of the class-balanced loss
and LDAM, and the training counts have one of three shapes: `exponential` and `step` as in these papers, see
`lt_det.datasets.imbalance`, or `lvis`, LVIS v1's own counts as a curve over k / (K - 1), at least 1. The papers keep
the largest count when the ratio changes; here the images are kept, and an image has 5 classes on average, or fewer
where the most frequent class would otherwise be in more than half of the images.
"""

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lt_det.datasets.imbalance import IMBALANCE_KINDS, check_kind, check_ratio, relative_counts
from lt_det.errors import LtDetError
from lt_det.terminal import count_of

__all__ = ["FREQUENCY_NAMES", "Imbalance", "check_counts", "describe_counts", "frequency", "train_counts", "val_counts"]

FREQUENCY_NAMES = {"r": "rare", "c": "common", "f": "frequent"}  # LVIS's letters
_RARE_MAX, _COMMON_MAX = 10, 100  # LVIS v1 bucket edges, in training images

_TAIL_IMAGES = 3
_HALF_UP_TO = 62  # classes; up to here the most frequent class is in half of the images
_CLASSES_PER_IMAGE = 5
_MAX_CLASSES_PER_IMAGE = 6
_MIN_VAL_IMAGES = 10  # of each class, where the validation set is large enough
_VAL_POWER = 0.25  # validation counts are proportional to this power of the training counts

# Quantiles of LVIS v1's training images per class (`image_count` of its 1203 categories, as in Detectron2's metadata):
# the fraction of the classes with more images, and the count there. Between them, the logarithm is interpolated. For
# 1203 classes this gives 338 rare, 458 common and 407 frequent ones, and a sum of 359,385; LVIS has 337, 461, 405 and
# 360,952.
_LVIS_PROFILE = (
    (0.0, 1977),
    (0.05, 1876),
    (0.1, 1401),
    (0.15, 725),
    (0.2, 358),
    (0.25, 221),
    (0.3, 130),
    (0.4, 66),
    (0.5, 37),
    (0.6, 22),
    (0.7, 12),
    (0.8, 6),
    (0.9, 3),
    (0.95, 1),
    (1.0, 1),
)


@dataclass(frozen=True)
class Imbalance:
    """The shape of the training counts.

    Attributes:
        kind: `exponential`, `step` or `lvis`.
        ratio: images of the most frequent class over those of the rarest; None with `lvis`, which has its own.

    Raises:
        LtDetError: the kind is unknown, or the ratio is missing, not allowed or not a number of at least 1.
    """

    kind: str
    ratio: float | None = None

    def __post_init__(self) -> None:
        check_kind(self.kind, (*IMBALANCE_KINDS, "lvis"))
        if self.kind == "lvis":
            if self.ratio is not None:
                raise LtDetError(f"The imbalance lvis has LVIS's own ratio; leave out the ratio {self.ratio:g}.")
        elif self.ratio is None:
            raise LtDetError(f"The imbalance {self.kind} needs a ratio, for example 100.")
        else:
            check_ratio(self.ratio)

    def __str__(self) -> str:
        return f"imbalance {self.kind}" + ("" if self.ratio is None else f" with ratio {self.ratio:g}")


def frequency(image_count: int) -> str:
    """LVIS's letter of a class with so many training images."""
    if image_count <= _RARE_MAX:
        return "r"
    return "c" if image_count <= _COMMON_MAX else "f"


def train_counts(num_train: int, num_classes: int, imbalance: Imbalance | None) -> list[int]:
    """Number of training images of each class, in descending order."""
    if imbalance is None:
        return _default_counts(num_train, num_classes)
    if imbalance.ratio is None:
        return _lvis_counts(num_train, num_classes)
    relative = relative_counts(imbalance.kind, imbalance.ratio, num_classes)
    # A whole number of images in the rarest class, so that a whole ratio is exact.
    total = imbalance.ratio * math.fsum(relative)  # of all counts, divided by that of the rarest class
    tail = math.floor(min(_CLASSES_PER_IMAGE * num_train / total, num_train / 2 / imbalance.ratio))
    return [round(tail * imbalance.ratio * fraction) for fraction in relative]


def _lvis_counts(num_train: int, num_classes: int) -> list[int]:
    places = np.arange(num_classes) / max(num_classes - 1, 1)
    fractions, counts = np.transpose(_LVIS_PROFILE)
    curve = np.exp(np.interp(places, fractions, np.log(counts)))
    scale = min(_CLASSES_PER_IMAGE * num_train / curve.sum(), num_train / 2 / curve[0])
    return [max(round(count), 1) for count in (scale * curve).tolist()]


def _default_counts(num_train: int, num_classes: int) -> list[int]:
    def counts_from(head: int) -> list[int]:
        steps = max(num_classes - 1, 1)
        return [round(head * (_TAIL_IMAGES / head) ** (rank / steps)) for rank in range(num_classes)]

    head = max(num_train // 2, 1)
    if num_classes > _HALF_UP_TO:
        heads = range(1, head + 1)
        fitting = bisect_right(heads, _CLASSES_PER_IMAGE * num_train, key=lambda trial: sum(counts_from(trial)))
        head = max(fitting, 1)
    return counts_from(head)


def val_counts(counts: Sequence[int], num_val: int, imbalance: Imbalance | None) -> list[int]:
    """Number of validation images of each class, in the order of the training counts."""
    num_classes = len(counts)
    if imbalance is not None:
        return [min(max(round(_CLASSES_PER_IMAGE * num_val / num_classes), 1), num_val)] * num_classes
    weights = np.asarray(counts, np.float64) ** _VAL_POWER
    wanted = np.rint(_CLASSES_PER_IMAGE * num_val * weights / weights.sum())
    # A lower minimum where so many classes would overfill so few images.
    floor = max(1, min(_MIN_VAL_IMAGES, _MAX_CLASSES_PER_IMAGE * num_val // num_classes))
    return [min(max(int(count), floor), num_val) for count in wanted]


def check_counts(counts: Sequence[int], num_train: int, num_val: int, imbalance: Imbalance | None) -> None:
    """Refuse training counts that cannot be a dataset of so many images.

    Raises:
        LtDetError: a class has no image, an image has no class or too many; without an imbalance, a bucket is empty.
    """
    num_classes = len(counts)
    sizes = f"{count_of(num_train, 'training image')} and {count_of(num_classes, 'class')}"
    missing = [name for letter, name in FREQUENCY_NAMES.items() if letter not in map(frequency, counts)]
    if imbalance is None and missing:
        raise LtDetError(
            f"{sizes} give no {' and no '.join(missing)} class: ask for more images (with 12 to 62 classes, at least"
            " 400) or set an imbalance, which may leave buckets empty."
        )
    if imbalance is not None and min(counts) < 1:
        raise LtDetError(
            f"{sizes} do not allow {imbalance}, because the rarest class would have no image: ask for more images or a"
            " smaller ratio."
        )
    if sum(counts) > _MAX_CLASSES_PER_IMAGE * num_train and num_classes > _HALF_UP_TO:
        raise LtDetError(
            f"{sizes} need more than {_MAX_CLASSES_PER_IMAGE} classes in an image on average: ask for more images."
        )
    if sum(counts) < num_train:
        raise LtDetError(
            f"{sizes} do not go together, because some image would have no object:"
            " ask for more classes or a smaller ratio."
        )
    if num_val * _MAX_CLASSES_PER_IMAGE < num_classes:
        raise LtDetError(
            f"{count_of(num_val, 'validation image')} cannot show each of {num_classes} classes: ask for more."
        )


def describe_counts(train: Sequence[int], val: Sequence[int]) -> str:
    """What a user wants to know of the counts of a dataset: buckets, largest and smallest class, ratio.

    Args:
        train: training images of each class, in any order.
        val: validation images of each class.
    """
    buckets = Counter(map(frequency, train))
    names = ", ".join(f"{buckets[letter]} {name}" for letter, name in FREQUENCY_NAMES.items())
    ratio = max(train) / min(train)
    return (
        f"{len(train)} classes ({names}), {_span(train)} training images each (ratio {ratio:.4g}),"
        f" {_span(val)} validation images each"
    )


def _span(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low} to {high}"
