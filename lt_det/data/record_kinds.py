"""Which kinds of annotation the records of a dataset have, and the first record of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Bits of a record's kinds. Crowd regions are a kind of their own, because training leaves them out.
POLYGONS, OTHER_MASK, BOX_ONLY, KEYPOINTS, CROWD = 1, 2, 4, 8, 16


def kinds_of(record: Mapping[str, Any]) -> int:
    """The kinds of annotation that a record has, as a sum of bits; 0: no annotation."""
    kinds = 0
    for annotation in record.get("annotations", ()):
        if annotation.get("iscrowd", 0):
            kinds |= CROWD
            continue
        segmentation = annotation.get("segmentation")
        if segmentation is None or len(segmentation) == 0:
            kinds |= BOX_ONLY
        else:
            kinds |= POLYGONS if isinstance(segmentation, list) else OTHER_MASK
        if annotation.get("keypoints") is not None:
            kinds |= KEYPOINTS
    return kinds


def pixels_of(record: Mapping[str, Any]) -> int:
    """Width times height of a record's image; 0 if it does not say."""
    return int(record.get("width") or 0) * int(record.get("height") or 0)


def kinds_and_pixels(dataset: Any) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """`kinds_of` and `pixels_of` of each record, as two (N,) arrays.

    Args:
        dataset: `Records`, which knows them, or any sequence of N records, which is read once.
    """
    if hasattr(dataset, "kinds_and_pixels"):
        kinds, pixels = dataset.kinds_and_pixels()
        return kinds, pixels
    records = (dataset[index] for index in range(len(dataset)))
    both = np.array([(kinds_of(record), pixels_of(record)) for record in records], dtype=np.int64).reshape(-1, 2)
    return both[:, 0].astype(np.uint8), both[:, 1]


def representatives(kinds: NDArray[np.uint8], pixels: NDArray[np.int64], too_large: float) -> Sequence[int]:
    """The indices of the first record of each combination of kinds, ascending, and of the largest too large image.

    Args:
        kinds, pixels: see `kinds_and_pixels`.
        too_large: images of more pixels cannot be read.
    """
    chosen = set(np.unique(kinds, return_index=True)[1].tolist())
    if len(pixels) and pixels.max() > too_large:
        chosen.add(int(pixels.argmax()))
    return sorted(chosen)
