"""Split annotations by whole images, so that the classes of a long tail are in every part.

Iterative stratification (Sechidis, Tsoumakas and Vlahavas, "On the Stratification of Multi-Label Data", 2011): the
rarest class is distributed first, and each of its images goes to the part that lacks most images of the class. Added
here: a class with as many images as there are parts is in each part, and images that belong together, such as the
frames of a video, stay in one part.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from lt_det.errors import LtDetError
from lt_det.io.annotations.fields import normalized_annotations

GroupOf = Callable[[Mapping[str, Any]], Hashable]

_SWEEPS = 3  # over the classes that a part lacks; later ones rarely find anything


def split_by_image(
    data: Mapping[str, Any], fractions: Sequence[float], seed: int = 0, group_of: GroupOf | None = None
) -> list[dict[str, Any]]:
    """Split annotations into parts that share no image.

    Args:
        data: content of a COCO- or LVIS-format json. It is not modified.
        fractions: of the images in each part, the training part first: (0.8, 0.2). Their sum is 1.
        seed: other seeds give other splits; the same seed gives the same one.
        group_of: function from an image record to a key; images with the same key stay in one part. None: only images
            of the same file stay together.

    Returns:
        One dictionary for each fraction. Every key other than ``images`` and ``annotations`` is that of `data`; the
        records are the same objects, in the same order.

    Raises:
        LtDetError: see `normalized_annotations` and `assign_images`.
    """
    normalized = normalized_annotations(data, "The annotations")
    parts = assign_images(normalized, fractions, seed, group_of)
    return [select_part(data, normalized, parts, part) for part in range(len(fractions))]


def assign_images(
    normalized: Mapping[str, Any], fractions: Sequence[float], seed: int = 0, group_of: GroupOf | None = None
) -> list[int]:
    """The part of each image, in the order of ``images``.

    Each class is in each part if it has at least as many images (groups) as there are parts, and the first parts come
    first where it has fewer. A class whose images all have other rare classes, too, can be an exception. Crowd regions
    are not counted.

    Args:
        normalized: annotations from `normalized_annotations`.
        fractions, seed, group_of: see `split_by_image`.

    Raises:
        LtDetError: the fractions are not positive numbers with the sum 1, there are fewer images (groups) than parts,
            an image id is used twice, or an annotation refers to an image that there is not.
    """
    if len(fractions) < 2 or min(fractions) <= 0 or not math.isclose(sum(fractions), 1, abs_tol=1e-6):
        raise LtDetError(f"The fractions of a split are {list(fractions)}; write positive numbers whose sum is 1.")
    groups = _Groups(normalized, group_of)
    if len(groups.sizes) < len(fractions):
        raise LtDetError(
            f"A split into {len(fractions)} parts needs as many images, or groups of images, and here "
            f"{'is' if len(groups.sizes) == 1 else 'are'} {len(groups.sizes)}; make fewer parts, or group by a key "
            "with more values."
        )
    part_of_group = _Stratification(groups, fractions, seed).run()
    return [part_of_group[group] for group in groups.of_image]


def select_part(
    data: Mapping[str, Any], normalized: Mapping[str, Any], parts: Sequence[int], part: int
) -> dict[str, Any]:
    """The records of one part.

    Args:
        data: annotations as they were read.
        normalized: the same from `normalized_annotations`, in which references are of the type of the ids.
        parts: from `assign_images`.
        part: index of the part.
    """
    chosen = {image["id"] for image, of_image in zip(normalized["images"], parts, strict=True) if of_image == part}
    images = [image for image, of_image in zip(data["images"], parts, strict=True) if of_image == part]
    annotations = [
        record
        for record, same in zip(data["annotations"], normalized["annotations"], strict=True)
        if same["image_id"] in chosen
    ]
    return {**data, "images": images, "annotations": annotations}


class _Groups:
    """Images that stay together.

    Attributes:
        of_image: index of the group of each image.
        sizes: images in each group.
        classes: for each group, the number of its images with each class, by class index.
        num_classes: K, the classes that are in some image.
    """

    def __init__(self, normalized: Mapping[str, Any], group_of: GroupOf | None) -> None:
        numbers: dict[Hashable, int] = {}
        by_id: dict[Any, int] = {}
        self.of_image: list[int] = []
        for image in normalized["images"]:
            if image["id"] in by_id:
                raise LtDetError(f"Two images have the id {image['id']}; give each a unique id.")
            key = (group_of or _file_of)(image)
            group = numbers.setdefault(key, len(numbers))
            by_id[image["id"]] = group
            self.of_image.append(group)
        seen: dict[Any, dict[Any, None]] = {id_: {} for id_ in by_id}  # the order of a set of texts is not reproducible
        for annotation in normalized["annotations"]:
            if annotation["image_id"] not in seen:
                raise LtDetError(
                    f"Annotation {annotation['id']} refers to image {annotation['image_id']}, which is not in "
                    "'images'; add the image or drop the annotation."
                )
            if not annotation.get("iscrowd"):
                seen[annotation["image_id"]][annotation["category_id"]] = None
        self.sizes = [0] * len(numbers)
        self.classes: list[Counter[int]] = [Counter() for _ in numbers]
        index: dict[Any, int] = {}
        for image_id, group in by_id.items():
            self.sizes[group] += 1
            self.classes[group].update(index.setdefault(id_, len(index)) for id_ in seen[image_id])
        self.num_classes = len(index)


class _Stratification:
    """Assigns groups to parts, see the module's docstring."""

    def __init__(self, groups: _Groups, fractions: Sequence[float], seed: int) -> None:
        self._groups, self._parts = groups, range(len(fractions))
        # The largest groups come first, while all parts still have room for them; groups of one size in random order.
        generator = random.Random(seed)  # only its random() is the same in every version of Python
        ranks = [(-size, generator.random()) for size in groups.sizes]
        self._order = sorted(range(len(ranks)), key=ranks.__getitem__)
        self._members: list[list[int]] = [[] for _ in range(groups.num_classes)]  # groups of each class, in this order
        totals = [0] * groups.num_classes
        for group in self._order:
            for k, images in groups.classes[group].items():
                totals[k] += images
                self._members[k].append(group)
        self._left = np.array([len(members) for members in self._members], dtype=np.int64)  # groups without a part
        self._part_of: list[int | None] = [None] * len(groups.sizes)
        self._number = [0] * len(fractions)  # groups in each part
        self._lacks = [len(groups.of_image) * fraction for fraction in fractions]  # images that each part lacks
        self._lacks_of = [[total * fraction for fraction in fractions] for total in totals]
        self._present = [[0] * len(fractions) for _ in totals]  # groups with the class in each part

    def run(self) -> list[int]:
        """The part of each group."""
        # Ties: the class that is the rarest in all, so that the only image of a class goes to training.
        numbers = self._left.copy()
        waiting = np.ones(len(numbers), dtype=bool)
        while waiting.any():
            few = np.flatnonzero(waiting & (self._left == self._left[waiting].min()))
            k = int(few[numbers[few].argmin()])
            waiting[k] = False
            for group in self._members[k]:
                if self._part_of[group] is None:
                    self._put(group, self._best_part(k))
        for group in self._order:
            if self._part_of[group] is None:
                self._put(group, max(self._parts, key=self._lacks.__getitem__))
        for _ in range(_SWEEPS):
            if not self._repair():
                break
        self._fill_empty_parts()
        return [part for part in self._part_of if part is not None]

    def _best_part(self, k: int) -> int:
        """The part for the next group of class `k`: one without the class before there are too few groups for that."""
        absent = [part for part in self._parts if not self._present[k][part]]
        candidates = absent if absent and self._left[k] <= len(absent) else self._parts
        return max(candidates, key=lambda part: (self._lacks_of[k][part], self._lacks[part]))

    def _put(self, group: int, part: int) -> None:
        for k in self._groups.classes[group]:
            self._left[k] -= 1
        self._account(group, part, 1)

    def _account(self, group: int, part: int, sign: int) -> None:
        """Add a group to a part, or take it out."""
        self._part_of[group] = part if sign > 0 else None
        self._number[part] += sign
        self._lacks[part] -= sign * self._groups.sizes[group]
        for k, images in self._groups.classes[group].items():
            self._lacks_of[k][part] -= sign * images
            self._present[k][part] += sign

    def _repair(self) -> bool:
        """Move groups to parts that lack one of their classes, where the parts gain by it; whether any was moved."""
        moved = False
        for k, present in enumerate(self._present):
            for part in self._parts:
                if present[part]:
                    continue
                gains = [(*self._gain(group, part), group) for group in self._members[k]]
                *gain, group = max(gains, key=lambda found: found[:2])
                if gain > [0, 0]:
                    self._move(group, part)
                    moved = True
        return moved

    def _gain(self, group: int, part: int) -> tuple[int, int]:
        """How many more classes the first part, which is trained on, and the others have after a move.

        A class that cannot be learned is worse than one that cannot be evaluated.
        """
        source = self._part_of[group]
        if source is None or source == part or self._number[source] == 1:
            return 0, 0
        classes = self._groups.classes[group]
        lost = sum(self._present[k][source] == 1 for k in classes)
        gained = sum(not self._present[k][part] for k in classes)
        if source == 0:
            return -lost, gained
        return (gained, -lost) if part == 0 else (0, gained - lost)

    def _move(self, group: int, part: int) -> None:
        source = self._part_of[group]
        assert source is not None
        self._account(group, source, -1)
        self._account(group, part, 1)

    def _fill_empty_parts(self) -> None:
        """Tiny fractions leave a part empty: it gets the group whose move costs least, from the largest part."""
        for part in self._parts:
            if not self._number[part]:
                source = max(self._parts, key=self._number.__getitem__)
                members = [group for group in self._order if self._part_of[group] == source]
                self._move(
                    min(members, key=lambda g: sum(self._present[k][source] == 1 for k in self._groups.classes[g])),
                    part,
                )


def _file_of(image: Mapping[str, Any]) -> Hashable:
    return image.get("file_name") or image.get("coco_url") or ("id", image["id"])
