"""The meta set: training images that the classifier is not trained on."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lt_det.bakeoff.cache.tables import RoiTable
from lt_det.bakeoff.fitting.folds import image_folds
from lt_det.terminal import count_of

logger = logging.getLogger(__name__)

_FOLDS = 5  # one of them is the meta set


def split_meta_images(
    rois: RoiTable, images: NDArray[np.int64] | None, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Divide images into four fifths to train on and a fifth for the meta set, with the same mixture of classes.

    Whole images are held out: RoIs of the same object are nearly equal, so a meta set of RoIs of the training images
    would be the training set.

    Args:
        rois: a table of the training images.
        images: indices of the images to divide; None for all.
        seed: decides ties.

    Returns:
        Ascending indices of the images to train on, and of those of the meta set.

    Raises:
        LtDetError: there are fewer images than five.
    """
    images = np.arange(len(rois.image_ids)) if images is None else np.unique(images)
    number = np.full(len(rois.image_ids), -1)
    number[images] = np.arange(len(images))
    rows = number[rois.images] >= 0
    part = replace(
        rois,
        labels=rois.labels[rows],
        images=number[rois.images[rows]],
        image_ids=[rois.image_ids[image] for image in images.tolist()],
    )
    meta = image_folds(part, _FOLDS, seed)[0]
    held = np.isin(part.images, meta)
    foreground = part.labels < rois.num_classes
    in_training = np.isin(np.arange(rois.num_classes), part.labels[foreground & ~held])
    in_meta = np.isin(np.arange(rois.num_classes), part.labels[foreground & held])
    lacking, alone = int((in_training & ~in_meta).sum()), int((in_meta & ~in_training).sum())
    if lacking or alone:
        logger.info(
            f"Meta set of {len(meta)} of {len(images)} images: it lacks {count_of(lacking, 'class')}, and has "
            f"{count_of(alone, 'class')} that the other images lack, so that they cannot learn it."
        )
    return np.delete(images, meta), images[meta]
