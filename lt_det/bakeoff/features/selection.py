"""Choose images so that every class has some of its images among them, as far as it has any."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lt_det.data.cache.records import Records


def annotated_classes(records: Any) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The image index and the class of each annotation that is no crowd region (of cached records: of each annotation).

    Args:
        records: of a dataset.

    Returns:
        Two (A,) arrays.
    """
    if isinstance(records, Records):
        return records.annotated_classes()
    pairs = [
        (index, annotation["category_id"])
        for index, record in enumerate(records)
        for annotation in record.get("annotations", ())
        if not annotation.get("iscrowd", 0)
    ]
    images, classes = np.asarray(pairs, dtype=np.int64).reshape(-1, 2).T
    return images, classes


def choose_images(
    images: NDArray[np.int64], classes: NDArray[np.int64], num_images: int, number: int, seed: int
) -> NDArray[np.int64]:
    """Choose images at random: first one of each class, then a second one of each class, and so on.

    So all images of a rare class are chosen before the tenth of a frequent one.

    Args:
        images: (A,) image of each annotation.
        classes: (A,) its class.
        num_images: I.
        number: of images to choose.
        seed: of the choice.

    Returns:
        (min(number, I),) indices of images, ascending.
    """
    place = np.random.default_rng(seed).permutation(num_images)  # of each image in a random order
    pairs = np.unique(np.stack([classes, place[images]]), axis=1)  # by class, then by place
    first = np.searchsorted(pairs[0], pairs[0])
    turn = np.full(num_images, num_images)  # images without annotations come last
    np.minimum.at(turn, pairs[1], np.arange(pairs.shape[1]) - first)
    order = np.lexsort([np.arange(num_images), turn])  # of places
    image_at = np.empty(num_images, dtype=np.int64)
    image_at[place] = np.arange(num_images)
    return np.sort(image_at[order[:number]])
