"""Every field of annotations has one type, whatever type the file wrote."""

import copy
import json

import pytest

from lt_det.errors import LtDetError
from lt_det.io.annotations.coco_json import image_records, load_annotations, read_in_pieces
from lt_det.io.annotations.fields import flag, normalized_annotations, same_id
from lt_det.statistics.class_stats import ClassStats

SQUARE = [10, 10, 30, 10, 30, 30, 10, 30]
GOOD = {
    "images": [{"id": 7, "width": 100, "height": 50, "file_name": "a.jpg", "neg_category_ids": [3]}],
    "annotations": [{"id": 1, "image_id": 7, "category_id": 3, "bbox": [10, 10, 20, 20], "iscrowd": 0}],
    "categories": [{"id": 3, "name": "cup", "frequency": "r"}, {"id": 4, "name": "fork", "frequency": "f"}],
}


def changed(section, **fields):
    data = copy.deepcopy(GOOD)
    data[section][0].update(fields)
    return data


def written(tmp_path, data):
    file = tmp_path / "set.json"
    file.write_text(json.dumps(data))
    return file


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (7, int, 7),
        ("7", int, 7),
        (7.0, int, 7),
        ("-7", int, -7),
        ("07", int, "07"),
        ("7.0", int, "7.0"),
        ("a", int, "a"),
        ("٧", int, "٧"),
        (7, str, "7"),
        (7.0, str, "7"),
        ("07", str, "07"),
        (7.5, int, None),
        (float("nan"), int, None),
        (True, int, None),
        (None, int, None),
        ([7], int, None),
    ],
)
def test_ids(value, kind, expected):
    found = same_id(value, kind)
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize("value", [0, 0.0, False, "0", None])
def test_flags_that_are_off(value, tmp_path):
    assert flag(value) == 0
    file = written(tmp_path, changed("annotations", iscrowd=value, ignore=value))
    annotation = load_annotations(file)["annotations"][0]
    assert [annotation["iscrowd"], annotation["ignore"]] == [0, 0]
    assert ClassStats.from_json(file).instance_counts.tolist() == [1, 0]


@pytest.mark.parametrize("value", [1, 1.0, True, "1"])
def test_flags_that_are_on(value, tmp_path):
    file = written(tmp_path, changed("annotations", iscrowd=value))
    assert load_annotations(file)["annotations"][0]["iscrowd"] == 1
    assert ClassStats.from_json(file).instance_counts.tolist() == [0, 0]


def test_references_have_the_type_of_what_they_refer_to():
    data = changed("annotations", image_id="7", category_id=3.0)
    data["images"][0]["neg_category_ids"] = ["3", 4.0]
    before = copy.deepcopy(data)
    found = normalized_annotations(data, "x")
    assert found["annotations"][0] == GOOD["annotations"][0]
    assert type(found["annotations"][0]["category_id"]) is int
    assert found["images"][0]["neg_category_ids"] == [3, 4]
    assert data == before  # the user's own dictionary
    texts = changed("images", id="7")
    assert normalized_annotations(texts, "x")["annotations"][0]["image_id"] == "7"


def test_whole_numbers_written_as_fractional_ones():
    data = normalized_annotations(changed("images", id=7.0, width=100.0), "x")
    assert data == GOOD
    assert type(data["images"][0]["id"]) is type(data["images"][0]["width"]) is int


def test_a_flat_list_is_one_polygon(caplog):
    data = normalized_annotations(changed("annotations", segmentation=SQUARE), "x")
    assert data["annotations"][0]["segmentation"] == [SQUARE]
    assert "1 segmentation " in caplog.text
    for kept in ([1, 2, 3, 4], [SQUARE], [1, 2, 3, 4, 5, 6, 7]):
        data = normalized_annotations(changed("annotations", segmentation=kept), "x")
        assert data["annotations"][0]["segmentation"] == kept


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("annotations", "iscrowd", 2),
        ("annotations", "iscrowd", "no"),
        ("annotations", "iscrowd", [0]),
        ("annotations", "ignore", float("nan")),
        ("annotations", "image_id", True),
        ("annotations", "image_id", None),
        ("annotations", "category_id", 3.5),
        ("annotations", "area", "400"),
        ("annotations", "area", True),
        ("annotations", "area", float("nan")),
        ("annotations", "segmentation", "SGk="),
        ("annotations", "segmentation", 5),
        ("annotations", "keypoints", "1 2 2"),
        ("annotations", "keypoints", [1, 2]),
        ("annotations", "keypoints", [1, "2", 2]),
        ("images", "width", "100"),
        ("images", "width", True),
        ("images", "height", 50.5),
        ("images", "file_name", 7),
        ("images", "coco_url", ["http://x"]),
        ("images", "neg_category_ids", "3"),
        ("images", "neg_category_ids", [[3]]),
        ("images", "not_exhaustive_category_ids", [True]),
        ("images", "not_exhaustive_category_ids", 0),
        ("categories", "frequency", "R"),
        ("categories", "frequency", 0.5),
    ],
)
def test_everything_else_is_refused_with_record_and_field(section, key, value):
    id_ = GOOD[section][0]["id"]
    with pytest.raises(LtDetError, match=rf"^set\.json: \w+ {id_} has '{key}'"):
        normalized_annotations(changed(section, **{key: value}), "set.json")


def test_frequencies_of_the_users_own():
    data = copy.deepcopy(GOOD)
    for category in data["categories"]:
        category["frequency"] = 0.5
    assert normalized_annotations(data, "x") == data


@pytest.mark.parametrize("id_", [True, None, 1.5, [1], {}])
def test_ids_that_are_none(id_):
    for section in GOOD:
        with pytest.raises(LtDetError, match=rf"'{section}' record number 0 has 'id'"):
            normalized_annotations(changed(section, id=id_), "x")


def test_pieces_and_the_whole_are_the_same(tmp_path):
    data = changed("annotations", image_id="7", iscrowd="0")
    file = written(tmp_path, dict(sorted(data.items())))  # annotations are first in the file
    pieces = list(read_in_pieces(file))
    assert [section for section, _ in pieces] == ["categories", "images", "annotations"]
    assert dict(pieces) == load_annotations(file)
    assert list(image_records(file)) == data["images"]


@pytest.mark.parametrize(("frequency", "reported"), [("rare", True), ("R", True), (12, False), (None, False)])
def test_a_frequency_that_defines_no_bucket(caplog, frequency, reported):
    """A text may be meant as LVIS's letter; a number is a count."""
    data = copy.deepcopy(GOOD)
    for category in data["categories"]:
        category["frequency"] = frequency
    normalized_annotations(data, "set.json")
    assert (f"category 3 has 'frequency' {frequency!r}, which is ignored" in caplog.text) == reported
    assert bool(caplog.records) == reported
