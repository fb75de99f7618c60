"""Boxes of records that no training learns from."""

import numpy as np
import pytest
from detectron2.structures import BoxMode

from lt_det.data.record_boxes import unusable_boxes

CORNERS, SIZES = BoxMode.XYXY_ABS, BoxMode.XYWH_ABS


def record(*boxes, mode=CORNERS, **others):
    annotations = [{"bbox": box, "bbox_mode": mode, "category_id": 0, **others} for box in boxes]
    return {"file_name": "a.png", "width": 60, "height": 50, "annotations": annotations}


@pytest.mark.parametrize(
    "records",
    [
        [],
        [record()],
        [record([0, 0, 60, 50], [-5, -5, 70, 70])],
        [record([59, 49, 20, 20], mode=SIZES)],
        [record(np.array([1, 2, 3, 4]), mode=int(CORNERS))],
        [record([5, 5, 5, 9], iscrowd=1)],
        [record([200, 200, 300, 300]) | {"width": None, "height": None}],
        [record(["1", "x", "3", "4"]), {"file_name": "b.png"}],  # the mapper says it
        [record([5, 5, 2, 2, 90], mode=BoxMode.XYWHA_ABS)],
    ],
)
def test_usable(records):
    assert unusable_boxes(records) == ""


@pytest.mark.parametrize(
    "bad",
    [
        record([30, 20, 25, 24]),  # a width and a height in place of the second corner
        record([1, 1, 1, 9]),
        record([10, 10, 0, 5], mode=SIZES),
        record([60, 0, 70, 20]),
        record([-9, 0, 0, 20]),
        record([0, 50, 5, 5], mode=SIZES),
        record([float("nan"), 1, 5, 5]),
    ],
)
def test_not_usable(bad):
    found = unusable_boxes([record([1, 1, 9, 9]), bad, bad | {"file_name": "b.png"}])
    box = bad["annotations"][0]
    assert found.startswith("2 of 3 boxes")
    assert f"{[float(n) for n in box['bbox']]} ({box['bbox_mode'].name}) of a.png" in found
