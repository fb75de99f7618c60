"""Images that a training set and an evaluation set share, by their files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from detectron2.data import MetadataCatalog

from lt_det.data.cache.record_cache import cached_records, follows_json
from lt_det.data.formats import annotations_of, reads_coco_json
from lt_det.io.annotations.coco_json import image_file_name, image_records

_SHOWN = 3  # names in a message


def shared_images(train: Sequence[str], test: Sequence[str]) -> list[str]:
    """One sentence for each pair of sets that share images; AP on such images is that of training images.

    Sets that a user's own function makes are left out. Image files are compared by their paths, and not opened.

    Args:
        train: names of registered training sets.
        test: names of registered evaluation sets.

    Raises:
        LtDetError: an annotation file cannot be read.
    """
    found = []
    if not test:
        return []
    trained = {name: set(map(os.path.abspath, _image_files(name, True))) for name in dict.fromkeys(train)}
    for name in dict.fromkeys(test):
        files = list(map(os.path.abspath, _image_files(name, False)))
        for training_set, known in trained.items():
            if shared := [file for file in files if file in known]:
                names = ", ".join(map(os.path.basename, shared[:_SHOWN])) + (", ..." if len(shared) > _SHOWN else "")
                found.append(
                    f"{len(shared)} of {len(files)} images of '{name}' are in the training set '{training_set}', too "
                    f"({names}); AP on them does not show how the detector generalizes"
                )
    return found


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
