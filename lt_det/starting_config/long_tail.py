"""What a long tail of classes asks for: buckets, sampler, score threshold, number of detections."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lt_det.data.sampling.repeat_factors import repeat_factors
from lt_det.starting_config.survey import Survey
from lt_det.statistics.buckets import LVIS_EDGES, UNSEEN, BucketOptions, FrequencyBuckets, resolve_buckets
from lt_det.statistics.class_stats import ClassStats
from lt_det.terminal import count_of

MANY_CLASSES = 100  # from here on, the scores of a class are low, as in LVIS
LONG_TAIL = 10.0  # ratio of the most to the fewest training images of a class from which a set has a long tail

_GROUPS = 3
_LEAST_CLASSES = 2 * _GROUPS  # two per group
_UNEVEN = 2.0  # ratio of counts from which groups of classes differ
_COCO_LIMIT, _LVIS_LIMIT = 100, 300  # detections per image


def imbalance(stats: ClassStats) -> float:
    """Training images of the most frequent class, as a multiple of those of the rarest class that has any."""
    seen = stats.image_counts[stats.image_counts > 0]
    return float(seen.max() / seen.min()) if len(seen) else 1.0


def has_long_tail(stats: ClassStats) -> bool:
    """Whether the class counts differ by a factor of `LONG_TAIL` or more."""
    return imbalance(stats) >= LONG_TAIL


@dataclass(frozen=True)
class Buckets:
    """
    Attributes:
        by, edges, groups: of `BucketOptions`; edges are ignored where there are groups (above 0). No edges: the buckets
            are those of the annotation file.
        why: the reason for the choice, for the comment in the config.
    """

    by: str
    edges: list[int] | None
    groups: int
    why: str


def choose_buckets(train: Survey, val: Survey) -> Buckets:
    """The buckets that the file to evaluate on has, as in LVIS; else LVIS's edges where they divide the classes; else
    groups of equally many classes, where the classes differ.

    Args:
        train: whose counts edges and groups divide.
        val: to evaluate on.
    """
    stats = train.stats
    fewest, most = _range(stats)
    edges = list(LVIS_EDGES)
    if val.has_letters:
        why = (
            "The validation set's json says which classes are rare, common and frequent, as in LVIS ('frequency' of "
            "its categories). EDGES, NAMES, EQUAL_GROUPS or MAP would replace these buckets."
        )
        return Buckets("images", None, 0, why)
    counts = f"the classes have {fewest} to {most} training images"
    default = _sizes(resolve_buckets(None, stats))
    if _divides(default):
        return Buckets("images", edges, 0, f"LVIS's edges divide the classes: {_listed(default)}; {counts}.")
    only = next(name for name, size in default.items() if size and name != UNSEEN)
    alone = f"By LVIS's edges ({edges[0]} and {edges[1]} images), all classes are {only}: {counts}."
    by_instances = _sizes(resolve_buckets(BucketOptions("instances"), stats))
    if _divides(by_instances):
        why = f"{alone} Counted by instances, the same edges divide them: {_listed(by_instances)}."
        return Buckets("instances", edges, 0, why)
    seen = int((stats.image_counts > 0).sum())
    if seen >= 2 and most >= _UNEVEN * fewest:
        groups = _GROUPS if seen >= _LEAST_CLASSES else seen
        what = f"{groups} groups of equally many classes" if groups < seen else "a group for each class"
        why = f"{alone} Instead: {what}, from the rarest (group0) to the most frequent (group{groups - 1})."
        return Buckets("images", edges, groups, why)
    nothing = "One class" if stats.num_classes == 1 else "Classes with about the same number of images"
    return Buckets("images", edges, 0, f"{alone} {nothing} cannot be divided by frequency: read AP by class.")


def _range(stats: ClassStats) -> tuple[int, int]:
    seen = stats.image_counts[stats.image_counts > 0]
    return (int(seen.min()), int(seen.max())) if len(seen) else (0, 0)


def _sizes(buckets: FrequencyBuckets) -> dict[str, int]:
    return dict(zip(buckets.names, buckets.sizes(), strict=True))


def _divides(sizes: dict[str, int]) -> bool:
    return sum(size > 0 for name, size in sizes.items() if name != UNSEEN) >= 2


def _listed(sizes: dict[str, int]) -> str:
    return ", ".join(f"{size} {name}" for name, size in sizes.items() if size)


@dataclass(frozen=True)
class Sampler:
    """
    Attributes:
        name: DATALOADER.SAMPLER_TRAIN.
        threshold: DATALOADER.REPEAT_THRESHOLD; None for a sampler without.
        why: the reason for the choice.
    """

    name: str
    threshold: float | None
    why: str


def choose_sampler(survey: Survey) -> Sampler:
    """Repeat factors for the classes that are not frequent, where there is a long tail; else uniform sampling."""
    stats, ratio = survey.stats, imbalance(survey.stats)
    fewest, most = _range(stats)
    if not has_long_tail(stats):
        why = f"The classes have {fewest} to {most} training images, which is a factor of {ratio:.0f}: no long tail."
        return Sampler("TrainingSampler", None, f"Each image once per epoch. {why}")
    seen = stats.image_counts[stats.image_counts > 0]
    of_lvis = LVIS_EDGES[-1]
    edge = of_lvis if seen.min() <= of_lvis < seen.max() else float(np.median(seen))
    threshold = float(f"{edge / stats.num_images:.2g}")
    _, images = np.unique(survey.image_of_box, return_inverse=True)
    factors, below = repeat_factors(images, survey.class_of_box, stats.num_images, stats.num_classes, threshold)
    why = (
        f"The classes have {fewest} to {most} training images, a factor of {ratio:.0f}. Images with a class that is "
        f"in less than REPEAT_THRESHOLD of the images ({below.sum()} of {stats.num_classes} classes) are repeated, up "
        f"to {factors.max():.1f} times, so that an epoch has {factors.mean():.2f} times as many images. "
    )
    if edge == of_lvis:
        return Sampler(
            "RepeatFactorTrainingSampler",
            threshold,
            f"{why}The threshold is about 100 images, as in LVIS (0.001 of 100,000).",
        )
    return Sampler(
        "RepeatFactorTrainingSampler", threshold, f"{why}The threshold is the median number of images of a class."
    )


@dataclass(frozen=True)
class Detections:
    """
    Attributes:
        threshold: score from which a detection counts.
        per_image: the most detections of an image.
        most: objects of an image of the set.
        why: the reason for the choice.
    """

    threshold: float
    per_image: int
    most: int
    why: str


def choose_detections(survey: Survey) -> Detections:
    """LVIS's practice where classes are many or verified in some images only; a higher threshold for few classes."""
    stats, most = survey.stats, int(survey.objects_per_image().max(initial=0))
    per_image = _COCO_LIMIT if most <= _COCO_LIMIT else -(-most // 100) * 100
    if survey.federated or stats.num_classes >= MANY_CLASSES:
        kind = "federated annotations" if survey.federated else count_of(stats.num_classes, "class")
        why = f"LVIS's practice, for {kind}: rare classes get low scores."
        return Detections(0.0001, max(_LVIS_LIMIT, per_image), most, why)
    if has_long_tail(stats):
        why = "Classes with few images get low scores, and Detectron2's default of 0.05 would drop their detections."
        return Detections(0.001, per_image, most, why)
    why = "Low, because AP also depends on how uncertain detections are ranked; raise it when you use the detector."
    return Detections(0.01, per_image, most, why)
