"""Samplers of RoIs: how often a row of a `RoiTable` is sampled, relative to a training of the detector."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lt_det.bakeoff.cache.tables import RoiTable
from lt_det.data.sampling.repeat_factors import repeat_factors
from lt_det.errors import LtDetError
from lt_det.registry import Registry
from lt_det.terminal import count_of

Weights = NDArray[np.float64]

# (RoI table, (N,) weights of its rows, config, generator) to (N,) new weights.
RoiSampler = Callable[[RoiTable, Weights, Any, np.random.Generator], Weights]

ROI_SAMPLERS: Registry[RoiSampler] = Registry("A sampler of RoIs")

_Sampler = TypeVar("_Sampler", bound=RoiSampler)


def register_roi_sampler(name: str) -> Callable[[_Sampler], _Sampler]:
    """Function decorator: make a sampler of RoIs known as `name`, for the candidates of a bake-off.

    The function is called with a `RoiTable`, (N,) weights of its rows, the candidate's config, and a numpy generator of
    the seed. The weights are those of a plain training, and 0 for the rows of images that are held out. It returns (N,)
    weights of at least 0, to which the probability of each row to be sampled is proportional.

    Raises:
        ValueError: the name is taken.
    """
    return ROI_SAMPLERS.register(name)


def check_sampler(name: str) -> None:
    """
    Raises:
        LtDetError: no sampler of RoIs has this name.
    """
    if name not in ROI_SAMPLERS:
        raise LtDetError(f"there is no sampler of RoIs '{name}'; known samplers: {', '.join(ROI_SAMPLERS)}.")


def row_weights(
    rois: RoiTable, images: NDArray[np.int64] | None, sampler: str, cfg: Any, generator: np.random.Generator
) -> Weights:
    """(N,) weights of the rows of a table, to which their probability to be sampled is proportional.

    Args:
        rois: the table.
        images: indices of the images to sample from; None for all.
        sampler: a key of `ROI_SAMPLERS`.
        cfg: the candidate's config.
        generator: for samplers that choose rows at random.

    Raises:
        LtDetError: no such sampler, or nothing to sample from.
    """
    check_sampler(sampler)
    weights = rois.weights.astype(np.float64)
    if images is not None:
        chosen = np.zeros(len(rois.image_ids), dtype=bool)
        chosen[images] = True
        weights[~chosen[rois.images]] = 0
    weights = np.asarray(ROI_SAMPLERS[sampler](rois, weights, cfg, generator), dtype=np.float64)
    if weights.shape != rois.labels.shape or not (np.isfinite(weights) & (weights >= 0)).all():
        raise LtDetError(
            f"The sampler '{sampler}' must return {count_of(len(rois.labels), 'weight')} of at least 0, one per RoI; "
            "correct it."
        )
    if not weights.sum() > 0:
        raise LtDetError(
            f"The sampler '{sampler}' finds no RoI in the {len(rois.image_ids) if images is None else len(images)} "
            "images to train on; check DATASETS.TRAIN, or use fewer folds."
        )
    return weights


@register_roi_sampler("plain")
def plain(rois: RoiTable, weights: Weights, cfg: Any, generator: np.random.Generator) -> Weights:
    """The composition of a training."""
    return weights


@register_roi_sampler("class_aware")
def class_aware(rois: RoiTable, weights: Weights, cfg: Any, generator: np.random.Generator) -> Weights:
    """Every foreground class that has RoIs is sampled equally often; the fraction of background stays."""
    totals = class_totals(rois, weights)
    present = totals > 0
    factors = np.divide(totals.sum(), totals * present.sum(), out=np.zeros(len(totals)), where=present)
    return weights * np.append(factors, 1.0)[rois.labels]


@register_roi_sampler("under_sampling")
def under_sampling(rois: RoiTable, weights: Weights, cfg: Any, generator: np.random.Generator) -> Weights:
    """Foreground classes with more RoIs than the median class keep as many as it; the others are discarded.

    Which RoIs are kept is chosen once, at random. The fraction of background stays.
    """
    rows = generator.permutation(np.flatnonzero(weights > 0))
    counts = np.bincount(rois.labels[rows], minlength=rois.num_classes + 1)
    present = counts[:-1][counts[:-1] > 0]
    limits = np.append(np.full(rois.num_classes, int(np.median(present)) if len(present) else 0), counts[-1])
    kept = np.zeros(len(weights))
    rows = rows[at_most(rois.labels[rows], limits)]
    kept[rows] = weights[rows]
    foreground = rois.labels < rois.num_classes
    return np.where(foreground, kept * (weights[foreground].sum() / max(kept[foreground].sum(), 1e-300)), kept)


@register_roi_sampler("repeat_factor")
def repeat_factor(rois: RoiTable, weights: Weights, cfg: Any, generator: np.random.Generator) -> Weights:
    """Repeat factors per image, as DATALOADER.REPEAT_THRESHOLD asks for; where it is 0, with the median frequency.

    The threshold is compared with the fraction of the images that contain a class. A threshold of 0 would repeat no
    image; the frequency of the median class repeats images of half of the classes.
    """
    present = np.flatnonzero((weights > 0) & (rois.labels < rois.num_classes))
    pairs = np.unique(np.stack([rois.images[present], rois.labels[present]]), axis=1)
    num_images = len(np.unique(rois.images[weights > 0]))
    threshold = cfg.DATALOADER.REPEAT_THRESHOLD
    if not threshold:
        counts = np.bincount(pairs[1], minlength=rois.num_classes)
        threshold = float(np.median(counts[counts > 0])) / num_images if counts.any() else 0.0
    numbers = np.cumsum(np.bincount(rois.images[weights > 0], minlength=len(rois.image_ids)) > 0) - 1
    sqrt = cfg.DATALOADER.get("REPEAT_SQRT", True)  # a key of Detectron2's main branch
    factors, _ = repeat_factors(numbers[pairs[0]], pairs[1], num_images, rois.num_classes, threshold, sqrt)
    return weights * np.where(weights > 0, factors[numbers[rois.images].clip(0)], 0.0)


def class_totals(rois: RoiTable, weights: Weights) -> Weights:
    """(K,) total weight of the rows of each foreground class."""
    totals = np.bincount(rois.labels, weights, minlength=rois.num_classes + 1)
    return totals[: rois.num_classes].astype(np.float64)


def at_most(labels: NDArray[np.int64], limits: NDArray[np.int64]) -> NDArray[np.int64]:
    """Positions of the first ``limits[k]`` occurrences of each label k, by label.

    >>> at_most(np.array([1, 0, 1, 1]), np.array([5, 2])).tolist()
    [1, 0, 2]
    """
    by_label = np.argsort(labels, kind="stable")
    counts = np.bincount(labels, minlength=len(limits))
    rank = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    return by_label[rank < limits[labels[by_label]]]
