"""Each field of a detection has one type; everything else is refused with the number of the detection and the field."""

import json

import numpy as np
import pytest

from lt_det.errors import LtDetError
from lt_det.evaluation import evaluate

DATA = {
    "images": [{"id": 1, "height": 40, "width": 40}, {"id": 2, "height": 40, "width": 40}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 3, "bbox": [10, 10, 10, 10]}],
    "categories": [{"id": 3, "name": "cup"}],
}
RIGHT = {"image_id": 1, "category_id": 3, "score": 0.5, "bbox": [10, 10, 10, 10]}
TRIANGLE = [10, 10, 20, 10, 10, 20]


def as_texts(data):
    return {
        "images": [image | {"id": str(image["id"])} for image in data["images"]],
        "annotations": [a | {"image_id": str(a["image_id"]), "category_id": "3"} for a in data["annotations"]],
        "categories": [{"id": "3", "name": "cup"}],
    }


@pytest.mark.parametrize("of_texts", [False, True])
@pytest.mark.parametrize(
    "change",
    [
        {"image_id": "1"},
        {"image_id": 1.0, "category_id": "3"},
        {"image_id": np.int64(1), "category_id": np.int32(3), "score": np.float32(0.5)},
        {"bbox": np.array([10, 10, 10, 10])},
        {"bbox": (10.0, 10, 10, 10), "score": 1},
    ],
)
def test_what_means_the_same_is_the_same(change, of_texts, tmp_path):
    data = as_texts(DATA) if of_texts else DATA
    assert evaluate(data, [RIGHT | change]).metrics["bbox"]["AP"] == pytest.approx(100)
    if "int64" not in str(change) and "array" not in str(change):
        file = tmp_path / "results.json"
        file.write_text(json.dumps([RIGHT | change]))
        assert evaluate(data, file).metrics["bbox"]["AP"] == pytest.approx(100)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("image_id", value) for value in (None, True, 1.5, [1], {"id": 1}, float("nan"))),
        *(("category_id", value) for value in (None, False, 2.5, [3], {})),
        *(("score", value) for value in (None, True, "0.5", [0.5], float("nan"), float("inf"), 10**400)),
        *(("bbox", value) for value in (None, "1,2,3,4", [1, 2, 3], [[1, 2, 3, 4]], ["1", 2, 3, 4], {"x": 1})),
        *(("bbox", value) for value in ([1e300, 2, 3, 4], [1, 2, 3, -(10**7)])),
        *(("bbox", value) for value in ([True, 2, 3, 4], [None, 2, 3, 4], [float("inf"), 2, 3, 4], [10**400, 2, 3, 4])),
    ],
)
@pytest.mark.parametrize("from_file", [False, True])
def test_everything_else_is_refused(field, value, from_file, tmp_path):
    results = [RIGHT, RIGHT | {"image_id": 2}, RIGHT | {field: value}]
    if from_file:
        (tmp_path / "results.json").write_text(json.dumps(results))
        results = tmp_path / "results.json"
    with pytest.raises(LtDetError, match=rf"(number 2\b.*)?'{field}'") as raised:
        evaluate(DATA, results)
    assert "number 2" in str(raised.value)


@pytest.mark.parametrize("value", ["01", "cup.jpg", 4, "4", -1, 2**70])
def test_unknown_ids_name_the_detection(value):
    with pytest.raises(LtDetError, match=r"1 detection .*'image_id'.*number 1\b"):
        evaluate(DATA, [RIGHT, RIGHT | {"image_id": value}])


def test_a_flat_polygon_is_one_polygon():
    data = DATA | {"annotations": [DATA["annotations"][0] | {"segmentation": [TRIANGLE]}]}
    for segmentation in (TRIANGLE, [TRIANGLE]):
        result = evaluate(data, [RIGHT | {"segmentation": segmentation}], iou="segm")
        assert result.metrics["segm"]["AP"] == pytest.approx(100)


@pytest.mark.parametrize(
    "segmentation", [[], [[1, 2, 3, 4]], [[1, 2, 3, 4, 5]], [1, 2, 3, 4], [["1", 2, 3, 4, 5, 6]], [[]], 5, "RLE", None]
)
def test_other_segmentations_are_refused(segmentation):
    data = DATA | {"annotations": [DATA["annotations"][0] | {"segmentation": [TRIANGLE]}]}
    results = [RIGHT | {"segmentation": TRIANGLE}, RIGHT | {"segmentation": segmentation}]
    with pytest.raises(LtDetError, match=r"number 1\b.*'segmentation'"):
        evaluate(data, results, iou="segm")
