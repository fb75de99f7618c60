"""Folds of the training images, on which candidates are chosen."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lt_det.bakeoff.cache.tables import RoiTable
from lt_det.errors import LtDetError
from lt_det.terminal import count_of

logger = logging.getLogger(__name__)

_NAMES_SHOWN = 10


def image_folds(rois: RoiTable, k: int, seed: int) -> list[NDArray[np.int64]]:
    """Split the training images into k folds that have the same mixture of classes as far as possible.

    Iterative stratification, Sechidis et al. 2011, https://doi.org/10.1007/978-3-642-23808-6_10: the images of the
    rarest class are distributed first, each to the fold with the fewest images of this class.

    Args:
        rois: a table of the training images; those of the first stage of a cascade serve for all stages.
        k: number of folds, at least 2.
        seed: decides ties.

    Returns:
        For each fold the ascending indices of the images that are held out; each image is in one fold.

    Raises:
        LtDetError: k is below 2, or above the number of images.
    """
    num_images = len(rois.image_ids)
    if not 2 <= k <= num_images:
        raise LtDetError(
            f"{count_of(num_images, 'training image')} cannot be split into {count_of(k, 'fold')}; choose at least 2 "
            "folds, and at most one per image."
        )
    generator = np.random.default_rng(seed)
    pairs = _images_of_classes(rois)
    fold_of = np.full(num_images, -1)
    in_folds = np.zeros((k, rois.num_classes), dtype=np.int64)  # images of each class in each fold
    sizes = np.zeros(k, dtype=np.int64)
    classes_of = np.split(pairs[1], np.searchsorted(pairs[0], range(1, num_images)))  # pairs are sorted by image
    counts = np.bincount(pairs[1], minlength=rois.num_classes)
    for rarest in np.argsort(counts, kind="stable"):
        images = pairs[0][pairs[1] == rarest]
        for image in generator.permutation(images[fold_of[images] < 0]):
            fold = np.lexsort((generator.random(k), sizes, in_folds[:, rarest]))[0]
            fold_of[image] = fold
            in_folds[fold, classes_of[image]] += 1
            sizes[fold] += 1
    for image in generator.permutation(np.flatnonzero(fold_of < 0)):  # without objects
        fold = np.lexsort((generator.random(k), sizes))[0]
        fold_of[image] = fold
        sizes[fold] += 1
    return [np.flatnonzero(fold_of == fold) for fold in range(k)]


def describe_classes(rois: RoiTable, folds: Sequence[NDArray[np.int64]], names: Sequence[str]) -> list[str]:
    """What the data cannot say about some classes, in sentences that are also logged as warnings.

    Args:
        rois: a table of the training images.
        folds: from `image_folds`.
        names: K class names.

    Returns:
        A sentence on classes without any RoI, and one on classes that some fold has on one side only; empty if there
        are none.
    """
    images, classes = _images_of_classes(rois)
    fold_of = np.empty(len(rois.image_ids), dtype=np.int64)
    for number, fold in enumerate(folds):
        fold_of[fold] = number
    images_of = np.bincount(classes, minlength=rois.num_classes)
    pairs = np.unique(np.stack([fold_of[images], classes]), axis=1)
    folds_of = np.bincount(pairs[1], minlength=rois.num_classes)
    sentences = []
    without = np.flatnonzero(images_of == 0)
    if len(without):
        sentences.append(
            f"{_classes(without, rois)} no RoI in the training images, so that no candidate can learn "
            f"{_them(without)}: {_listed(without, names)}."
        )
    one_sided = np.flatnonzero((folds_of > 0) & (folds_of < len(folds)))
    if len(one_sided):
        sentences.append(
            f"{_classes(one_sided, rois)} too few training images for {len(folds)} folds, so that some folds have "
            f"{_them(one_sided)} on one side only and say less about {_them(one_sided)}: {_listed(one_sided, names)}."
        )
    for sentence in sentences:
        logger.warning("%s", sentence)
    return sentences


def _images_of_classes(rois: RoiTable) -> NDArray[np.int64]:
    """(2, P) image and class of each pair that occurs."""
    foreground = rois.labels < rois.num_classes
    key = np.unique(rois.images[foreground] * rois.num_classes + rois.labels[foreground])
    return np.stack([key // rois.num_classes, key % rois.num_classes])


def _classes(found: NDArray[np.int64], rois: RoiTable) -> str:
    return f"{len(found)} of {rois.num_classes} classes {'has' if len(found) == 1 else 'have'}"


def _them(found: NDArray[np.int64]) -> str:
    return "it" if len(found) == 1 else "them"


def _listed(found: NDArray[np.int64], names: Sequence[str]) -> str:
    more = f" and {len(found) - _NAMES_SHOWN} more" if len(found) > _NAMES_SHOWN else ""
    return ", ".join(names[k] for k in found[:_NAMES_SHOWN]) + more
