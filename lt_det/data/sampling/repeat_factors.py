"""Repeat-factor sampling (Gupta et al. 2019, appendix B.2, https://arxiv.org/abs/1908.03195), and its effect."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lt_det.data.sampling.bucket_fractions import sampling_lines
from lt_det.data.sampling.samplers import RepeatFactorSampler, annotated_classes
from lt_det.statistics.bucket_advice import frequency_threshold, suggested_edges
from lt_det.statistics.buckets import FrequencyBuckets
from lt_det.terminal import count_of

logger = logging.getLogger(__name__)


def repeat_factor_sampler(
    dataset_dicts: Sequence[Mapping[str, Any]],
    threshold: float,
    buckets: FrequencyBuckets,
    *,
    sqrt: bool = True,
    seed: int | None = None,
) -> RepeatFactorSampler:
    """Detectron2's RepeatFactorTrainingSampler, and a log entry that says what it will draw from each bucket.

    Args:
        dataset_dicts: images in Detectron2's form; those without annotations are drawn once per epoch.
        threshold: the images of a class in a smaller fraction of the images are repeated.
        buckets: frequency buckets of the classes.
        sqrt: whether the factor of a class with frequency f is sqrt(threshold / f), as published, or threshold / f.
        seed: the same in all processes; None: a random seed that they share.
    """
    images, classes = annotated_classes(dataset_dicts)
    factors, below = repeat_factors(images, classes, len(dataset_dicts), len(buckets.assignment), threshold, sqrt)
    logger.info(_summary(images, classes, factors, below, threshold, buckets))
    if remark := threshold_remark(dataset_dicts, threshold):
        logger.warning("%s", remark)
    return RepeatFactorSampler(torch.from_numpy(factors.astype(np.float32)), seed=seed)


def threshold_remark(dataset_dicts: Sequence[Mapping[str, Any]], threshold: float) -> str:
    """Say that a threshold is above or below the frequencies of all classes, and name one between them; else empty.

    Args:
        dataset_dicts, threshold: see `repeat_factor_sampler`.
    """
    images, classes = annotated_classes(dataset_dicts)
    pairs = np.unique(np.stack([classes, images]), axis=1)
    counts = np.unique(pairs[0], return_counts=True)[1] if len(classes) else np.zeros(0, dtype=np.int64)
    frequencies, occurring = counts / max(1, len(dataset_dicts)), len(counts)
    repeated = int((frequencies < threshold).sum())
    if repeated not in (0, occurring) or not occurring:
        return ""
    if occurring == 1:
        return (
            "There is one class, so that repeating images favors none; set DATALOADER.SAMPLER_TRAIN to TrainingSampler."
        )
    which = f"All {count_of(occurring, 'class')} are" if repeated else f"None of the {count_of(occurring, 'class')} is"
    if edges := suggested_edges(counts):
        between = (
            f"choose a threshold between their image frequencies, {frequencies.min():.3g} to {frequencies.max():.3g}, "
            f"such as {frequency_threshold(counts, edges[0], len(dataset_dicts))}"
        )
    else:
        between = "they are in equally many images, so use another sampler"
    return (
        f"{which} below DATALOADER.REPEAT_THRESHOLD {threshold:g}, so that repeating images hardly favors any class; "
        f"{between}."
    )


def repeat_factors(
    images: NDArray[np.int64],
    classes: NDArray[np.int64],
    num_images: int,
    num_classes: int,
    threshold: float,
    sqrt: bool = True,
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """How often each image is drawn per epoch, r(I) = max over its classes of r(c) = max(1, sqrt(threshold / f(c))).

    Args:
        images, classes: (A,) image index and class of each annotation.
        num_images, num_classes: sizes of the results.
        threshold: t, for f(c), the fraction of the images that contain class c.
        sqrt: see `repeat_factor_sampler`.

    Returns:
        (num_images,) factors of at least 1, and (num_classes,) whether f(c) is below the threshold and above 0.
    """
    pairs = np.unique(np.stack([classes, images]), axis=1)
    frequency = np.bincount(pairs[0], minlength=num_classes) / num_images
    ratio = np.divide(threshold, frequency, out=np.ones(num_classes), where=frequency > 0)
    class_factors = np.maximum(1.0, np.sqrt(ratio) if sqrt else ratio)
    factors = np.ones(num_images)
    np.maximum.at(factors, images, class_factors[classes])
    return factors, (frequency > 0) & (frequency < threshold)


def _summary(
    images: NDArray[np.int64],
    classes: NDArray[np.int64],
    factors: NDArray[np.float64],
    below: NDArray[np.bool_],
    threshold: float,
    buckets: FrequencyBuckets,
) -> str:
    lines = [
        f"Repeat factors: {below.sum()} of {len(below)} classes are below the threshold {threshold:g}; "
        f"{(factors > 1).mean():.1%} of the images are repeated, an epoch has {factors.mean():.2f} times the images."
    ]
    return "\n".join(lines + sampling_lines(buckets, classes, factors[images], below, "below"))
