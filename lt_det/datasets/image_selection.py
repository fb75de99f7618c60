"""Select whole images so that each class is in as many of them as wanted."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

_SWEEPS = 50  # over all images; later ones change little
_MIN_GAIN = 1e-9  # in units of the cost; less is rounding


def select_images(classes_of: Sequence[Sequence[int]], targets: Sequence[int], seed: int = 0) -> list[int]:
    """Select images so that the number of images with each class is as near to its target as possible.

    An image shows several classes, so not every combination of targets can be met. The cost is
    sum_k (c_k - n_k)^2 / n_k, where c_k is the number of selected images with class k and n_k its target: one image too
    many or too few counts more for a rare class. A local search minimizes it. It starts without an image, visits the
    images in random order, and adds or removes each one where that lowers the cost, until nothing changes. Every class
    keeps at least one image.

    Args:
        classes_of: for each image, the indices of its classes, each once.
        targets: n_k, at least 1 for each class that an image has.
        seed: seed of the order of the images. The same seed gives the same selection in every version of Python.

    Returns:
        Indices of the selected images, in ascending order.
    """
    generator = random.Random(seed)  # only its random() is the same in every version of Python
    ranks = [generator.random() for _ in classes_of]
    order = [image for image in sorted(range(len(ranks)), key=ranks.__getitem__) if classes_of[image]]
    counts = [0] * len(targets)
    to_add = [-math.inf] * len(targets)  # change of the cost with one more image of each class
    to_remove = [math.inf] * len(targets)  # and with one fewer
    selected = [False] * len(ranks)
    for _ in range(_SWEEPS):
        changed = False
        for image in order:
            costs = to_remove if selected[image] else to_add
            if sum([costs[k] for k in classes_of[image]]) > -_MIN_GAIN:
                continue
            selected[image], changed = not selected[image], True
            change = 1 if selected[image] else -1
            for k in classes_of[image]:
                counts[k] += change
                excess, target = counts[k] - targets[k], targets[k]
                to_add[k] = (2 * excess + 1) / target
                to_remove[k] = (1 - 2 * excess) / target if counts[k] > 1 else math.inf
        if not changed:
            break
    return [image for image, chosen in enumerate(selected) if chosen]
