"""Which objects each image of mini_lvis has, and which of them are annotated."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_EXTRA_RATE = 0.12  # probability that an image has two objects of a class
_PARTIAL_RATE = 0.05  # fraction of images with a class that is not exhaustively annotated


@dataclass(frozen=True)
class ImagePlan:
    """The class indices of an image's objects, and the class that is not exhaustively annotated."""

    objects: list[int]
    partial: int | None


def plan_images(
    rng: np.random.Generator, counts: Sequence[int], num_images: int, frequent: set[int]
) -> list[ImagePlan]:
    """Choose the objects of each image; a class that is not exhaustively annotated has at least two in its image."""
    classes = _assign(rng, counts, num_images)
    eligible = [image for image, present in enumerate(classes) if frequent.intersection(present)]
    num_partial = min(len(eligible), max(1, round(_PARTIAL_RATE * num_images)))
    partial_images = set(rng.permutation(eligible)[:num_partial].tolist())
    plans = []
    for image, present in enumerate(classes):
        repeated = [index for index in present if rng.random() < _EXTRA_RATE]
        partial = None
        if image in partial_images:
            partial = int(rng.choice(sorted(frequent.intersection(present))))
            if partial not in repeated:
                repeated.append(partial)
        plans.append(ImagePlan(rng.permutation(present + repeated).tolist(), partial))
    return plans


def annotated_positions(rng: np.random.Generator, plan: ImagePlan) -> list[int]:
    """Positions in `plan.objects` of the objects to annotate: all but some, never all, of a partial class."""
    positions = [i for i, index in enumerate(plan.objects) if index == plan.partial]
    hidden: list[int] = []
    if positions:
        hidden = rng.permutation(positions)[: int(rng.integers(1, len(positions)))].tolist()
    return [i for i in range(len(plan.objects)) if i not in hidden]


def _assign(rng: np.random.Generator, counts: Sequence[int], num_images: int) -> list[list[int]]:
    """Distribute the classes over the images: class k in exactly counts[k] of them, and no image without a class."""
    load = np.zeros(num_images)
    classes: list[list[int]] = [[] for _ in range(num_images)]
    # Images start with different handicaps, and each class goes to the emptiest ones: the number of classes per image
    # varies, but no image is overfilled.
    handicap = rng.uniform(0, sum(counts) / num_images, num_images)
    for index in rng.permutation(len(counts)).tolist():
        fullness = load + handicap + rng.uniform(0, 2, num_images)
        chosen = np.argsort(fullness, kind="stable")[: counts[index]]
        load[chosen] += 1
        for image in chosen.tolist():
            classes[image].append(index)
    for image in np.flatnonzero(load == 0).tolist():
        fullest = max(range(num_images), key=lambda other: len(classes[other]))
        classes[image].append(classes[fullest].pop())
    return classes
