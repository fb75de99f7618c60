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


def sample_images(
    images: NDArray[np.int64], classes: NDArray[np.int64], num_images: int, number: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Choose half of the images as `choose_images` does, so that every class has some, and the others at random.

    An image of a rare class is more likely to be chosen than others. Its weight is the inverse of that probability, so
    that the weighted images have about the composition of all images.

    Args:
        images: (A,) image of each annotation.
        classes: (A,) its class.
        num_images: I.
        number: N of images to choose, at most I.
        seed: of the choice.

    Returns:
        (N,) indices of images, ascending, and (N,) their weights, whose mean is 1.
    """
    of_classes = choose_images(images, classes, num_images, number // 2, seed)
    others = np.setdiff1d(np.arange(num_images), of_classes)
    at_random = np.random.default_rng([seed, 1]).choice(others, number - len(of_classes), replace=False)
    chosen = np.sort(np.concatenate([of_classes, at_random]))
    for_class = _probabilities(images, classes, num_images, len(of_classes))[chosen]
    weights = 1 / (for_class + (1 - for_class) * len(at_random) / max(len(others), 1))
    return chosen, weights / weights.mean()


def _probabilities(
    images: NDArray[np.int64], classes: NDArray[np.int64], num_images: int, number: int
) -> NDArray[np.float64]:
    """(I,) probabilities with which `choose_images` chooses each image, about min(1, t / n).

    n is the number of images that have the rarest class of the image. t, the turns of each class, makes the sum of the
    probabilities the number of images that are chosen.
    """
    of_class, of_image = np.divmod(np.unique(classes * num_images + images), num_images)
    n = np.full(num_images, np.inf)  # images without annotations come last
    np.minimum.at(n, of_image, np.bincount(of_class)[of_class])
    annotated = np.sort(n[np.isfinite(n)])
    if number >= len(annotated):
        rest = (number - len(annotated)) / max(num_images - len(annotated), 1)
        return np.where(np.isfinite(n), 1.0, rest)
    # If the k images with the smallest n are chosen for certain, the others share the rest in proportion to 1 / n.
    turns = (number - np.arange(len(annotated))) / np.cumsum(1 / annotated[::-1])[::-1]
    return np.minimum(1, turns[np.argmax(turns <= annotated)] / n)
