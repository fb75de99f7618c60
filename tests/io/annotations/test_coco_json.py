"""Mistakes in annotation files are reported with file, record and fix."""

import copy
import json

import pytest

from lt_det.cli import main
from lt_det.errors import LtDetError
from lt_det.io.annotations.checks import check_annotations, find_problems
from lt_det.io.annotations.coco_json import image_file_name, load_annotations
from lt_det.io.shapes import usable_segmentation

GOOD = {
    "images": [{"id": 7, "width": 100, "height": 50, "file_name": "a.jpg"}],
    "annotations": [{"id": 1, "image_id": 7, "category_id": 3, "bbox": [10, 10, 20, 20], "area": 400}],
    "categories": [{"id": 3, "name": "cup"}],
}


def write(tmp_path, content):
    path = tmp_path / "set.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def broken(**changes):
    """GOOD with fields of its single records replaced: annotation={"bbox": ...}."""
    data = copy.deepcopy(GOOD)
    for record, fields in changes.items():
        data[{"image": "images", "annotation": "annotations", "category": "categories"}[record]][0].update(fields)
    return data


def test_good_file(tmp_path):
    data = load_annotations(write(tmp_path, GOOD))
    assert data == GOOD
    assert not list(find_problems(data, "x"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty; download or write it again"),
        (json.dumps(GOOD)[:-20], "is not valid json .* may be truncated"),
        ("[]", "holds a list, not an object"),
        ('{"images": []}', "has no list 'annotations'"),
        ({**GOOD, "images": []}, "lists no images"),
        ({**GOOD, "categories": []}, "lists no categories"),
        ({**GOOD, "images": [{"id": 7, "width": 3}]}, "'images' record id 7 has no 'height'"),
        ({**GOOD, "annotations": [{"image_id": 7}]}, "'annotations' record number 0 has no 'id'"),
        (broken(image={"width": "100"}), "image 7 has 'width' '100'; write the number of pixels"),
        (broken(image={"height": None}), "image 7 has 'height' None"),
        (broken(image={"neg_category_ids": 3}), "image 7 has 'neg_category_ids' 3; write a list"),
        (broken(image={"height": 10**400}), "image 7 has 'height' 10{59}; write the number of pixels"),
        (broken(image={"width": 2**40}), "image 7 has 'width' 1099511627776; write the number of pixels"),
        (broken(annotation={"area": 10**400}), "annotation 1 has 'area' 10{59}; write a number of pixels"),
        (broken(annotation={"image_id": [7]}), r"annotation 1 has 'image_id' \[7\]; write a single id"),
        (
            {**GOOD, "categories": [*GOOD["categories"], {"id": "4", "name": "x"}]},
            "ids of 'categories' are of type int and",
        ),
    ],
)
def test_unreadable_files(tmp_path, content, message):
    path = write(tmp_path, content)
    with pytest.raises(LtDetError, match=message) as caught:
        load_annotations(path)
    assert str(path) in str(caught.value)


def test_missing_file():
    with pytest.raises(LtDetError, match=r"nowhere/x\.json does not exist; check the path"):
        load_annotations("nowhere/x.json")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (broken(annotation={"category_id": 4}), "annotation 1: category 4 is not in 'categories'; add it"),
        (broken(annotation={"image_id": 8}), "annotation 1: image 8 is not in 'images'; add it"),
        (broken(annotation={"bbox": [1, 2, 3]}), r"annotation 1: 'bbox' is \[1, 2, 3\]; write four numbers"),
        (
            broken(annotation={"bbox": [float("nan"), 0, 1, 1]}),
            "annotation 1: 'bbox'.*1000000",
        ),
        (broken(annotation={"bbox": [1, 2, 10**400, 3]}), r"'bbox' \[1, 2, 10{52} .*1000000"),
        (
            broken(annotation={"bbox": [1e308, 2, 1e308, 3]}),
            "annotation 1: 'bbox'.*1000000",
        ),
        (broken(annotation={"bbox": [1, 2, -1e12, 3]}), "annotation 1: 'bbox'.*1000000"),
        (broken(image={"neg_category_ids": [5]}), "image 7: 'neg_category_ids' .*5"),
        ({**GOOD, "images": GOOD["images"] * 2}, "'images' id 7 is used 2 times"),
        ({**GOOD, "categories": GOOD["categories"] * 2}, "'categories' id 3 is used 2 times"),
    ],
)
def test_fatal_mistakes(data, message):
    with pytest.raises(LtDetError, match=r"set\.json: .*" + message):
        check_annotations(data, "set.json")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (broken(annotation={"bbox": [10, 10, 0, 20]}), "annotation 1: 'bbox' .* has no area; correct or drop it"),
        (broken(annotation={"bbox": [90, 10, 20, 20]}), "annotation 1: 'bbox' .*image 7 of 100 x 50 pixels"),
        (broken(annotation={"bbox": [-5, 10, 20, 20]}), "image 7"),
        (broken(annotation={"segmentation": [[1, 2, 3, 4]]}), "annotation 1: 'segmentation'"),
        (broken(annotation={"segmentation": [1, 2, 3, 4, 5, 6]}), "annotation 1: 'segmentation'"),
        (broken(annotation={"segmentation": {"counts": [1]}}), "annotation 1: 'segmentation'"),
        (broken(annotation={"segmentation": [[1, 2, 1e12, 4, 5, 1e12]]}), "annotation 1: 'segmentation'"),
        (broken(annotation={"segmentation": [[1, 2, 10**400, 4, 5, 6]]}), "annotation 1: 'segmentation'"),
        (broken(annotation={"segmentation": [[1, 2, "3", 4, 5, 6]]}), "annotation 1: 'segmentation'"),
        ({**GOOD, "annotations": GOOD["annotations"] * 2}, "'annotations' id 1 is used 2 times"),
    ],
)
def test_harmless_mistakes_are_warned_of(data, message, caplog):
    check_annotations(data, "set.json")
    assert len(caplog.records) == 1
    import re

    assert re.search(message, caplog.text)


@pytest.mark.parametrize(
    ("size", "counts"),
    [
        ([50, 100], ["5000"]),
        ([50, 100], [-5, 5005]),
        ([50, 100], [10, 20]),
        ([50, 100], [10, 6000]),
        ([50, 100], [[5000]]),
        ([50, 100], []),
        ([50, 100], [10**400]),
        ([50, 100], None),
        ([-50, 100], [5000]),
        ([0, 100], []),
        ([2**70, 100], "a1"),
        ([10**6, 10**6], [10**12]),
        (["50", 100], "a1"),
    ],
)
def test_rle_on_which_pycocotools_crashes_or_hangs(size, counts):
    data = broken(annotation={"segmentation": {"size": size, "counts": counts}})
    assert usable_segmentation(data["annotations"][0]) is None
    (problem,) = find_problems(data, "x")
    assert "annotation 1: 'segmentation'" in problem.message


def test_usable_segmentations():
    runs = {"size": [50, 100], "counts": [10, 20.0, 4970]}
    assert usable_segmentation({"segmentation": runs}) == runs
    far = [float(999_999)] * 6  # far from everything, but no crash
    assert usable_segmentation({"segmentation": [far, [1, 2, 3, 4]]}) == [far]


def test_null_lists_are_empty_ones(tmp_path):
    data = load_annotations(write(tmp_path, broken(image={"neg_category_ids": None})))
    assert not list(find_problems(data, "x"))


def test_border_tolerance():
    assert not list(find_problems(broken(annotation={"bbox": [79.5, 10, 21, 20]}), "x"))


def test_missing_images(tmp_path):
    with pytest.raises(LtDetError, match=r"the image folder .*gone does not exist"):
        check_annotations(GOOD, "set.json", tmp_path / "gone")
    with pytest.raises(LtDetError, match=r"image 7: .*a\.jpg does not exist; correct the image folder"):
        check_annotations(GOOD, "set.json", tmp_path)
    (tmp_path / "a.jpg").touch()
    check_annotations(GOOD, "set.json", tmp_path)


def test_a_mistake_that_many_records_share_is_said_once():
    unknown = [{**GOOD["annotations"][0], "id": n, "category_id": 9} for n in range(30)]
    other = {**GOOD["annotations"][0], "id": 30, "image_id": 8}
    with pytest.raises(LtDetError) as error:
        check_annotations({**GOOD, "annotations": [*unknown, other]}, "set.json")
    first, second = str(error.value).split("; annotation 30: ")
    assert first.startswith("set.json: annotation 0: category 9 ")
    assert first.endswith("(likewise 29 other annotations: 1, 2, 3, 4, ...)")
    assert first.count("category 9") == 1
    assert second.startswith("image 8 ")
    assert "likewise" not in second


def test_records_that_share_a_mistake_are_all_named_if_they_are_few(caplog):
    flat = [{**GOOD["annotations"][0], "id": n, "bbox": [10, 10, 0, 20]} for n in range(2)]
    good = [{**GOOD["annotations"][0], "id": n} for n in range(2, 30)]
    check_annotations({**GOOD, "annotations": flat + good}, "set.json")
    assert "annotation 0: 'bbox' [10, 10, 0, 20]" in caplog.text
    assert "(likewise 1 other annotation: 1)" in caplog.text


def test_kinds_of_mistakes_beyond_the_first_few_are_counted():
    broken_ids = [{**GOOD["annotations"][0], "id": n} for n in range(9)]
    for annotation, change in zip(
        broken_ids,
        (
            {"category_id": 9},
            {"image_id": 8},
            {"bbox": [1, 2, 3]},
            {"bbox": [1, 2, -1e12, 3]},
            {"segmentation": {"size": [100, 50], "counts": [5000]}},
            *[{"image_id": 8}] * 2,
        ),
        strict=False,
    ):
        annotation.update(change)
    images = [{**GOOD["images"][0], "neg_category_ids": [5]}]
    with pytest.raises(LtDetError, match=r"image 7: .*annotation 3: [^(]* \.\.\. and 1 more\.$"):
        check_annotations({**GOOD, "images": images, "annotations": broken_ids}, "set.json")


def test_image_names():
    url = "http://images.cocodataset.org/val2017/000000266409.jpg"
    assert image_file_name({"id": 1, "file_name": "train/x.jpg", "coco_url": None}, "f") == "train/x.jpg"
    assert image_file_name({"id": 1, "coco_url": url}, "f") == "val2017/000000266409.jpg"
    v05 = {"id": 1, "file_name": "COCO_val2014_000000266409.jpg", "coco_url": url}
    assert image_file_name(v05, "f") == "val2017/000000266409.jpg"
    for address in ("http://x/val2014/COCO_val2014_000000000042.jpg", "http://mscoco.org/images/42", "http://x/42.jpg"):
        coco_2014 = {"id": 1, "file_name": "COCO_val2014_000000000042.jpg", "coco_url": address}
        assert image_file_name(coco_2014, "f") == "COCO_val2014_000000000042.jpg"
    with pytest.raises(LtDetError, match="image 1 has neither 'file_name' nor 'coco_url'"):
        image_file_name({"id": 1}, "f")


def test_real_files(taco, lvis_sample):
    assert not list(find_problems(load_annotations(lvis_sample), lvis_sample))
    found = [problem.message for problem in find_problems(load_annotations(taco), taco)]
    assert len(found) == 3  # TACO as published: two ids used twice, one box above the image
    assert "id 309 is used 2 times" in found[0]
    assert "annotation 1777" in found[2]


def test_two_categories_with_one_name(tmp_path, caplog):
    """As after renaming a misspelled class: they stay two classes, which `lt-det stats` says."""
    twice = {**GOOD, "categories": [{"id": 3, "name": "cup"}, {"id": 4, "name": "cup"}]}
    assert main(["stats", str(write(tmp_path, twice))]) == 0
    assert "'cup' is used 2 times" in caplog.text


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["Car", "car "], "'Car' and 'car ' differ only in case or spaces"),
        (["stop  sign", "stop sign"], "'stop  sign' and 'stop sign' differ only"),
        (["", "cup"], "a category has an empty name"),
        ([" ", "cup"], "a category has an empty name"),
        (["car", "cars", "stop_sign", "stopsign"], ""),
    ],
)
def test_names_that_are_nearly_the_same_or_empty(names, message, caplog):
    categories = [{"id": 3 + number, "name": name} for number, name in enumerate(names)]
    check_annotations({**GOOD, "categories": categories}, "set.json")
    assert message in caplog.text
    assert bool(message) == bool(caplog.text)
