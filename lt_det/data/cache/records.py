"""The records a data loader reads, without a copy in each process."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog, get_detection_dataset_dicts
from numpy.typing import NDArray
from torch.utils.data import Dataset

from lt_det.data import registration
from lt_det.data.cache.record_cache import cached_records
from lt_det.data.cache.record_file import RecordFile
from lt_det.errors import LtDetError
from lt_det.io.annotations.checks import check_images

logger = logging.getLogger(__name__)


class Records(Dataset[dict[str, Any]]):
    """Selected images of one or several datasets. Each access returns a new dictionary that may be modified."""

    def __init__(self, files: Sequence[RecordFile], chosen: Sequence[NDArray[np.bool_]]) -> None:
        """
        Args:
            files: one for each dataset.
            chosen: for each dataset an (N,) mask of the images to use.
        """
        self._files = files
        self._chosen = chosen
        self._of_file = np.repeat(np.arange(len(files)), [mask.sum() for mask in chosen])
        self._index = np.concatenate([np.flatnonzero(mask) for mask in chosen])

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self._files[self._of_file[index]][self._index[index]]

    def wide(self) -> NDArray[np.bool_]:
        """(len,) whether each image is wider than high."""
        return np.concatenate([file.wide[mask] for file, mask in zip(self._files, self._chosen, strict=True)])

    def images(self) -> list[tuple[Any, str]]:
        """Id and file name of each image."""
        of_files = [file.images() for file in self._files]
        return [of_files[file][index] for file, index in zip(self._of_file.tolist(), self._index.tolist(), strict=True)]

    def kinds_and_pixels(self) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """The kinds of annotation and the number of pixels of each record, see `lt_det.data.record_kinds`."""
        kinds = [file.kinds[mask] for file, mask in zip(self._files, self._chosen, strict=True)]
        pixels = [file.pixels[mask] for file, mask in zip(self._files, self._chosen, strict=True)]
        return np.concatenate(kinds), np.concatenate(pixels)

    def annotated_classes(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The image index and the class of each annotation, as two (A,) arrays; images may have none."""
        per_image = [np.diff(file.start) for file in self._files]
        kept = [np.repeat(mask, counts) for mask, counts in zip(self._chosen, per_image, strict=True)]
        classes = [file.classes[mask] for file, mask in zip(self._files, kept, strict=True)]
        counts = [of_file[mask] for of_file, mask in zip(per_image, self._chosen, strict=True)]
        return np.repeat(np.arange(len(self)), np.concatenate(counts)), np.concatenate(classes)


def load_records(
    names: str | Sequence[str], filter_empty: bool = True, min_keypoints: int = 0
) -> Records | list[dict[str, Any]]:
    """What Detectron2's `get_detection_dataset_dicts` returns, from the cache if all the datasets are in it.

    The table of all classes that Detectron2 logs is left out.

    Args:
        names: registered datasets.
        filter_empty: leave out images without annotations, or with crowd regions only.
        min_keypoints: leave out images with fewer visible keypoints.

    Raises:
        LtDetError: mistakes in a dataset (see `load_dataset`), or no image is left.
    """
    names = [names] if isinstance(names, str) else list(names)
    files = [cached_records(name) for name in names]
    cached = [file for file in files if file is not None]
    if len(cached) < len(files):
        # Detectron2's own check of the class names would log a table of all classes.
        try:
            records = get_detection_dataset_dicts(
                names, filter_empty=filter_empty, min_keypoints=min_keypoints, check_consistency=False
            )
        except AssertionError as error:
            if "No valid data found" not in str(error):  # of a user's own function
                raise
            raise LtDetError(_nothing_left(names)) from None
        if not records:  # where Python leaves out assertions (PYTHONOPTIMIZE)
            raise LtDetError(_nothing_left(names))
        _check_same_classes(names)
        return records
    for name, file in zip(names, cached, strict=True):
        if DatasetCatalog[name].__module__ == registration.__name__:
            metadata = MetadataCatalog.get(name)
            check_images(file.images(), metadata.json_file, metadata.image_root)
    _check_same_classes(names)
    chosen = [np.ones(len(file), dtype=np.bool_) for file in cached]
    for file, mask in zip(cached, chosen, strict=True):
        if filter_empty:
            usable = np.concatenate([[0], np.cumsum(~file.crowd)])
            mask &= np.diff(usable[file.start]) > 0
        mask &= file.keypoints >= min_keypoints
    left, total = sum(int(mask.sum()) for mask in chosen), sum(map(len, chosen))
    if left < total:
        logger.info("%d of %d images have no annotations to train on and are left out.", total - left, total)
    if not left:
        raise LtDetError(_nothing_left(names))
    return Records(cached, chosen)


def _check_same_classes(names: Sequence[str]) -> None:
    """
    Raises:
        LtDetError: two datasets have different classes, or the same ones in another order.
    """
    classes = {name: list(MetadataCatalog.get(name).get("thing_classes") or ()) for name in names}
    first = names[0]
    for name in names:
        if not classes[first] or not classes[name] or classes[name] == classes[first]:
            continue
        pairs = itertools.zip_longest(classes[first], classes[name])
        index, (one, other) = next((k, pair) for k, pair in enumerate(pairs) if pair[0] != pair[1])
        raise LtDetError(
            f"The datasets '{first}' and '{name}' have different classes: class {index} is "
            f"{_quoted(one)} in the first and {_quoted(other)} in the second; give both the same "
            "categories, in the same order of ids."
        )


def _quoted(name: str | None) -> str:
    return "missing" if name is None else f"'{name}'"


def _nothing_left(names: Sequence[str]) -> str:
    return f"No image of {', '.join(names)} has annotations to train on; check the annotation file."
