"""Images that two training sets, or a training set and an evaluation set, share, by their files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations

from detectron2.data import MetadataCatalog

from lt_det.data.cache.record_cache import cached_records, follows_json
from lt_det.data.formats import annotations_of, reads_coco_json
from lt_det.io.annotations.coco_json import image_file_name, image_records

_SHOWN = 3  # names in a message


def repeated_sets(train: Sequence[str]) -> list[str]:
    """One sentence for each training set that is listed more than once."""
    return [
        f"the training set '{name}' is listed {number} times, so its images and objects count {number} times"
        for name, number in Counter(train).items()
        if number > 1
    ]


def shared_images(train: Sequence[str], test: Sequence[str]) -> list[str]:
    """One sentence for each pair of sets that share images.

    AP on images that training uses, too, is that of training images; what two training sets share is counted twice.
    Sets that a user's own function makes are left out. Image files are compared by their paths, and not opened.

    Args:
        train: names of registered training sets.
        test: names of registered evaluation sets.

    Raises:
        LtDetError: an annotation file cannot be read.
    """
    sets = list(dict.fromkeys(train))
    found: list[str] = []
    if not test and len(sets) < 2:
        return found
    trained = {name: list(map(os.path.abspath, _image_files(name, True))) for name in sets}
    known = {name: set(files) for name, files in trained.items()}
    for first, second in combinations(trained, 2):
        if shared := [file for file in trained[second] if file in known[first]]:
            found.append(
                f"{_number_of(shared, trained[second], second)} are in the training set '{first}', too "
                f"({_names(shared)}); their objects count twice in training and in the class counts"
            )
    for name in dict.fromkeys(test):
        files = list(map(os.path.abspath, _image_files(name, False)))
        for training_set in trained:
            if shared := [file for file in files if file in known[training_set]]:
                found.append(
                    f"{_number_of(shared, files, name)} are in the training set '{training_set}', too "
                    f"({_names(shared)}); AP on them does not show how the detector generalizes"
                )
    return found


def _number_of(shared: Sequence[str], files: Sequence[str], name: str) -> str:
    return f"{len(shared)} of {len(files)} images of '{name}'"


def _names(files: Sequence[str]) -> str:
    return ", ".join(map(os.path.basename, files[:_SHOWN])) + (", ..." if len(files) > _SHOWN else "")


def _image_files(name: str, training: bool) -> Iterator[str]:
    if not follows_json(name):
        return
    if training and (cached := cached_records(name)) is not None:  # which training is about to open
        yield from (file for _, file in cached.images())
        return
    metadata = MetadataCatalog.get(name)
    json_file, image_root = metadata.json_file, metadata.image_root
    images = image_records(json_file) if reads_coco_json(name) else annotations_of(name)["images"]
    for image in images:
        yield os.path.join(image_root, image_file_name(image, json_file))
