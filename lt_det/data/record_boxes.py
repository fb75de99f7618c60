"""Boxes of a user's own dataset function that Detectron2's mapper leaves out without a word."""

from __future__ import annotations

from typing import Any

import numpy as np
from detectron2.structures import BoxMode

_KNOWN = (BoxMode.XYXY_ABS, BoxMode.XYWH_ABS)


def unusable_boxes(dataset: Any) -> str:
    """Which boxes hold NaN, have no area or lie outside of their image, in a sentence; empty: none, or not known.

    A wrong bbox_mode makes many of them: read as corners, a width is often smaller than x.

    Args:
        dataset: any sequence of records; crowd regions are left out, as in training.
    """
    boxes, modes, sizes, names = [], [], [], []
    for index in range(len(dataset)):
        record = dataset[index]
        for annotation in record.get("annotations") or ():
            box, mode = annotation.get("bbox"), annotation.get("bbox_mode")
            if mode in _KNOWN and not annotation.get("iscrowd", 0) and hasattr(box, "__len__") and len(box) == 4:
                boxes.append(box)
                modes.append(mode)
                sizes.append((record.get("width") or np.inf, record.get("height") or np.inf))
                names.append(index)
    try:
        first, second = np.split(np.asarray(boxes, dtype=np.float64).reshape(-1, 4), 2, axis=1)
    except (TypeError, ValueError):  # the mapper fails on them
        return ""
    second = np.where(np.asarray(modes).reshape(-1, 1) == BoxMode.XYWH_ABS, first + second, second)
    limits = np.asarray(sizes, dtype=np.float64).reshape(-1, 2)
    is_usable = (first < second) & (first < limits) & (second > 0) & np.isfinite(first) & np.isfinite(second)
    bad = np.flatnonzero(~is_usable.all(axis=1))
    if not len(bad):
        return ""
    record, box = dataset[names[bad[0]]], [float(number) for number in boxes[bad[0]]]
    return (
        f"{len(bad)} of {len(boxes)} boxes hold NaN, have no area or lie outside of their image, the first of them "
        f"{box} ({BoxMode(modes[bad[0]]).name}) of {record.get('file_name')}: their objects are not learned; check "
        "bbox and bbox_mode"
    )
