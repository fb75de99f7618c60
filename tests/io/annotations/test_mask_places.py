"""Polygons that lie elsewhere than the boxes of the same objects."""

import re

import pytest

from lt_det.io.annotations.checks import check_annotations, find_problems
from lt_det.io.shapes import box_polygon

BOXES = [[200.0 + 5 * i, 20.0 + i, 30.0, 20.0] for i in range(20)]


def document(polygons):
    annotations = [
        {"id": i, "image_id": 1, "category_id": 1, "bbox": box, "segmentation": polygons(i, box)}
        for i, box in enumerate(BOXES)
    ]
    image = {"id": 1, "width": 400, "height": 400, "file_name": "a.jpg"}
    return {"images": [image], "annotations": annotations, "categories": [{"id": 1, "name": "cup"}]}


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda box: [box[1], box[0], box[3], box[2]], "'segmentation' .*20 of 20 .*y before x"),
        (lambda box: [side / 2 for side in box], "'segmentation' .*20 of 20 .*resized image"),
    ],
)
def test_polygons_in_another_convention_are_named(write, words, caplog):
    check_annotations(document(lambda i, box: [box_polygon(write(box))]), "set.json")
    (record,) = caplog.records
    assert re.search(words, record.getMessage())
    assert "repairs" not in record.getMessage()


@pytest.mark.parametrize(
    "polygons",
    [
        lambda i, box: [box_polygon(box if i > 1 else BOXES[-1])],  # two mistakes
        lambda i, box: [box_polygon([*box[:2], 9, 9]), box_polygon(box)],
        lambda i, box: [box_polygon([box[0] + 9, box[1] + 9, 4, 4])],  # the box is that of the whole object
        lambda i, box: [box_polygon([box[0] - 99, box[1] - 15, 200, 100])],  # the box is that of the visible part
        lambda i, box: [[box[0], box[1] + 5, box[0] + 30, box[1] + 5, box[0], box[1] + 5]],  # a line
    ],
)
def test_other_polygons_are_not_suspected(polygons, caplog):
    check_annotations(document(polygons), "set.json")
    assert not caplog.records


@pytest.mark.parametrize("polygon", [[0, 0, 9, 0, 9, 9], [0, 0, 1, 0, 1, 1]])
@pytest.mark.parametrize("box", [[0, 0, 0, 0], [1, 2], None, ["a", 1, 2, 3], [0, 0, float("nan"), 5]])
def test_boxes_that_cannot_be_compared(box, polygon):
    data = document(lambda i, box: [polygon])
    for annotation in data["annotations"]:
        annotation["bbox"] = box
    assert not any("elsewhere" in problem.message for problem in find_problems(data, "set.json"))
