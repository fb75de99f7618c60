"""Long-tailed subsets of a dataset, as CIFAR-LT is made of CIFAR, for images that show objects of several classes."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lt_det.datasets.image_selection import select_images
from lt_det.datasets.imbalance import relative_counts, target_counts
from lt_det.datasets.record_selection import RecordSelection
from lt_det.errors import LtDetError
from lt_det.io.annotations.checks import check_annotations
from lt_det.io.annotations.fields import normalized_annotations
from lt_det.statistics.counting import ClassCounter
from lt_det.terminal import count_of

CLASS_ORDERS = ("count", "index", "random")

_LOWER = 0.9  # what n_max is multiplied by while the targets are not met
_LOWEST = 0.5  # of the n_max that the classes have enough images for
_MET = 0.05  # mean deviation at which the targets are met
_ROUNDING = 1e-9


@dataclass(frozen=True)
class LongTail:
    """The long tail that a subset should have.

    Attributes:
        imbalance: "exponential" or "step", see `relative_counts`.
        ratio: R, the images of the largest class divided by those of the smallest; at least 1.
        num_classes: K: the subset has the first K classes of the order only. None: all classes; those without images
            keep none.
        order: order of the classes, the largest first. "count": by descending number of images (ties by id), so that
            rare classes stay rare. "index": by category id, as for CIFAR-LT, since the classes of CIFAR have equally
            many images. "random": a permutation by the seed.
        largest: n_max, the images of the largest class. None: as many as the images allow, see `plan_subset`.
        seed: seed of the selection of images and of the order "random".
    """

    imbalance: str
    ratio: float
    num_classes: int | None = None
    order: str = "count"
    largest: int | None = None
    seed: int = 0


@dataclass(frozen=True, eq=False)
class SubsetPlan:
    """The images and classes of a subset. Arrays have one element for each class of the tail, the largest first.

    Attributes:
        images: ids of the selected images.
        classes: indices of the classes, as in the order of the category ids.
        names: names of the classes.
        before: images with each class in the whole dataset.
        targets: n_k, the images that each class should have.
        achieved: selected images with each class.
        possible: the largest n_max for which every class has enough images.
        limit: the index in these arrays of the class that has too few for more.
    """

    images: frozenset[Any]
    classes: NDArray[np.int64]
    names: tuple[str, ...]
    before: NDArray[np.int64]
    targets: NDArray[np.int64]
    achieved: NDArray[np.int64]
    possible: int
    limit: int

    @property
    def deviations(self) -> NDArray[np.float64]:
        """|achieved - target| / target of each class."""
        return np.abs(self.achieved - self.targets) / self.targets

    @property
    def ratio(self) -> float:
        """The largest achieved count divided by the smallest."""
        return float(self.achieved.max() / self.achieved.min())


def long_tailed_subset(data: Mapping[str, Any], long_tail: LongTail) -> tuple[dict[str, Any], SubsetPlan]:
    """Reduce a dataset to images that give it a long tail.

    Args:
        data: content of a COCO- or LVIS-format json. It is not modified.
        long_tail: the long tail that the subset should have.

    Returns:
        The subset, and its class counts. A selected image keeps all its annotations, except those of classes that
        `num_classes` leaves out, and images without an object of the classes are left out. Categories with
        ``frequency``, ``image_count`` or ``instance_count`` get those of the subset. Everything else is that of `data`.

    Raises:
        LtDetError: the annotations have mistakes that make training fail; see also `plan_subset`.
    """
    source = "The annotations"
    normalized = normalized_annotations(data, source)
    check_annotations(normalized, source, warn=False)
    sizes = {image["id"]: (image["width"], image["height"]) for image in normalized["images"]}
    counter = ClassCounter(normalized["categories"], source, sizes)
    counter.add(normalized["annotations"])
    plan = plan_subset(counter, long_tail, source)
    selection = selection_of(plan, long_tail, normalized["categories"])
    images = selection.images(data["images"], normalized["images"])
    annotations = selection.annotations(data["annotations"], normalized["annotations"])
    categories = selection.categories(data["categories"])
    return {**data, "images": images, "annotations": annotations, "categories": categories}, plan


def plan_subset(counter: ClassCounter, long_tail: LongTail, source: str) -> SubsetPlan:
    """Select the images of a subset.

    Without `largest`, n_max begins with the largest number for which each class has enough images. Images with several
    classes may not allow that; while the classes deviate from their targets by more than 5 % on average, n_max is
    lowered in steps of 10 %, at most to half.

    Args:
        counter: counter that has counted the dataset.
        long_tail: the long tail that the subset should have.
        source: name of the dataset, for error messages.

    Raises:
        LtDetError: the dataset has too few images or classes for this long tail, or a value of it is invalid.
    """
    classes = _tail_classes(counter.image_counts(), long_tail, source)
    before = counter.image_counts()[classes]
    names = tuple(counter.names[k] for k in classes)
    relative = np.array(relative_counts(long_tail.imbalance, long_tail.ratio, len(classes)))
    possible, limit = _possible_largest(before, relative, long_tail.ratio)
    reason = f"class '{names[limit]}' has {count_of(int(before[limit]), 'image')}"
    largest = _checked_largest(possible, reason, long_tail, source)

    position = {int(k): index for index, k in enumerate(classes)}
    tail_of = {id_: [position[k] for k in found if k in position] for id_, found in counter.classes_of_images().items()}
    ids = list(tail_of)
    plans: list[SubsetPlan] = []
    n_max = largest
    while not plans or (n_max >= max(long_tail.ratio, _LOWEST * largest) and long_tail.largest is None):
        targets = target_counts(long_tail.imbalance, long_tail.ratio, len(classes), n_max)
        selected = select_images(list(tail_of.values()), targets, long_tail.seed)
        images = frozenset(ids[index] for index in selected)
        achieved = np.bincount([k for id_ in images for k in tail_of[id_]], minlength=len(classes))
        plans.append(SubsetPlan(images, classes, names, before, np.array(targets), achieved, possible, limit))
        if plans[-1].deviations.mean() <= _MET:
            break
        n_max = math.floor(n_max * _LOWER)
    return min(plans, key=lambda plan: float(plan.deviations.mean()))


def selection_of(plan: SubsetPlan, long_tail: LongTail, categories: list[dict[str, Any]]) -> RecordSelection:
    """The selection of the records of a plan.

    Args:
        plan, long_tail: see `plan_subset`.
        categories: categories of the dataset, normalized.
    """
    ids = sorted(category["id"] for category in categories)
    classes = None if long_tail.num_classes is None else {ids[k] for k in plan.classes}
    return RecordSelection(categories, plan.images, classes)


def _tail_classes(counts: NDArray[np.int64], long_tail: LongTail, source: str) -> NDArray[np.int64]:
    """Indices of the classes in the order of the tail."""
    if long_tail.order not in CLASS_ORDERS:
        raise LtDetError(f"The order '{long_tail.order}' of classes is unknown; choose {', '.join(CLASS_ORDERS)}.")
    present = np.flatnonzero(counts)
    number = len(present) if long_tail.num_classes is None else long_tail.num_classes
    if not 2 <= number <= len(present):
        advice = f"take at least 2 and at most {len(present)}" if len(present) > 1 else "it needs at least 2"
        raise LtDetError(
            f"A long tail of {count_of(number, 'class')} is not possible, because {source} has images of "
            f"{count_of(len(present), 'class')}; {advice}."
        )
    if long_tail.order == "count":
        present = present[np.argsort(-counts[present], kind="stable")]
    elif long_tail.order == "random":
        generator = random.Random(long_tail.seed)  # only its random() is the same in every version of Python
        present = present[np.argsort([generator.random() for _ in present], kind="stable")]
    return present[:number]


def _possible_largest(before: NDArray[np.int64], relative: NDArray[np.float64], ratio: float) -> tuple[int, int]:
    """The largest n_max for which every class has enough images, and the index of the class that limits it.

    A class with n_k = n_max R^-p images is large enough. If that makes n_max less than R, so that the smallest class
    has less than one image, n_max is R where classes with n_k rounded down are.
    """
    limit = int((before / relative).argmin())
    possible = math.floor(before[limit] / relative[limit] * (1 + _ROUNDING))
    if possible < ratio:
        rounded = math.ceil(((before + 1) / relative).min() * (1 - _ROUNDING)) - 1
        possible = max(possible, min(rounded, math.ceil(ratio)))
    return possible, limit


def _checked_largest(possible: int, reason: str, long_tail: LongTail, source: str) -> int:
    """n_max to begin with."""
    ratio, largest = long_tail.ratio, possible if long_tail.largest is None else long_tail.largest
    if largest < ratio and long_tail.largest is not None:
        raise LtDetError(
            f"With {count_of(largest, 'image')} of the largest class and ratio {ratio:g}, the smallest class has less "
            f"than one image; set the largest class to at least {ratio:g} images, or lower the ratio."
        )
    missing = f"There are too few images in {source} for ratio {ratio:g}"
    if largest > possible:
        raise LtDetError(
            f"{missing} and {count_of(largest, 'image')} of the largest class: {reason}, which allows {possible}; take "
            f"at most {possible}."
        )
    if largest < ratio:
        raise LtDetError(
            f"{missing}: {reason}, so that the largest class gets {largest} and the smallest less than one; take a "
            "lower ratio or fewer classes."
        )
    return largest
