"""--cross-check hands the official packages the user's own data, and says what they cannot take."""

import copy
import json
import math
import re

import numpy as np
import pytest
from pycocotools import mask as mask_utils

from lt_det.cli import main
from lt_det.evaluation.io.official_input import official_input

TRIANGLE = [10, 10, 60, 10, 10, 60]
DATA = {
    "images": [{"id": 1, "height": 96, "width": 96}],
    "categories": [{"id": 1, "name": "a"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 10, 50, 50], "area": 1250, "iscrowd": 0}
        | {"segmentation": [TRIANGLE]}
    ],
}
MASK = mask_utils.merge(mask_utils.frPyObjects([TRIANGLE], 96, 96))
MASK["counts"] = MASK["counts"].decode()
RESULTS = [{"image_id": 1, "category_id": 1, "score": 0.9, "segmentation": MASK}]


def changed(**fields):
    return {**DATA, "annotations": [{**DATA["annotations"][0], **fields}]}


def evaluate(tmp_path, data, results, *options):
    (tmp_path / "val.json").write_text(json.dumps(data))
    (tmp_path / "results.json").write_text(json.dumps(results))
    files = ["--gt", str(tmp_path / "val.json"), "--results", str(tmp_path / "results.json")]
    return main(["evaluate", *files, "--cross-check", *options])


def rows_of_check(text):
    number = r"([\d.e+-]+|n/a)"
    found = re.findall(rf"│ (A[PR]\w*)\s*│\s*{number} │\s*{number} │\s*{number} │", text[text.index(": check") :])
    return {name: (ours, official) for name, ours, official, _ in found}


@pytest.mark.parametrize("task", ["bbox", "segm"])
@pytest.mark.parametrize("federated", [False, True])
def test_what_a_package_can_take_is_handed_over_as_it_is(task, federated):
    data = copy.deepcopy(DATA)
    data["images"][0] |= {"neg_category_ids": [], "not_exhaustive_category_ids": []}
    data["categories"][0]["frequency"] = "r"
    results = [RESULTS[0] | ({"bbox": [1, 2, 3, 4]} if task == "bbox" else {})]
    before = copy.deepcopy((data, results))
    given = official_input(data, results, task, federated)
    assert ({**given.ground_truth, "info": {}}, given.detections, given.notes) == ({**data, "info": {}}, results, [])
    given.ground_truth["annotations"][0]["segmentation"] = given.detections[0]["score"] = None
    assert (data, results) == before


@pytest.mark.parametrize(
    ("data", "key", "value"),
    [
        (changed(segmentation=TRIANGLE), "segmentation", [TRIANGLE]),
        (changed(segmentation=None), "segmentation", [[10, 10, 60, 10, 60, 60, 10, 60]]),
        (
            changed(segmentation={"size": [96, 96], "counts": [5, 5]}),
            "segmentation",
            [[10, 10, 60, 10, 60, 60, 10, 60]],
        ),
        (changed(segmentation=[TRIANGLE, [1, 2, 3, 4]]), "segmentation", [TRIANGLE]),
        (changed(area=None), "area", 2500),
        (changed(iscrowd=None), "iscrowd", 0),
        (changed(id=0), "id", 1),
    ],
)
def test_what_it_cannot_take_is_completed_and_said(data, key, value):
    given = official_input(data, RESULTS, "segm", federated=False)
    assert given.ground_truth["annotations"][0][key] == value
    (note,) = given.notes
    assert {"segmentation": "polygon", "id": "ids"}.get(key, f"'{key}'") in note or "no 'segmentation'" in note
    assert "the check" in note
    assert official_input(data, RESULTS, "segm", federated=True).ground_truth["annotations"][0]["image_id"] == 1


def test_results_that_are_no_compressed_rle_are_compressed_and_said():
    results = [RESULTS[0] | {"segmentation": [TRIANGLE]}]
    given = official_input(DATA, results, "segm", federated=False)
    assert given.detections[0]["segmentation"]["counts"].decode() == MASK["counts"]
    assert "compressed RLE" in given.notes[0]


def test_right_masks_with_flat_polygons_are_right_and_said(tmp_path, capsys):
    flat = changed(segmentation=TRIANGLE)
    assert evaluate(tmp_path, flat, RESULTS, "--iou", "segm") == 0
    out = capsys.readouterr().out
    ours, official = rows_of_check(out)["AP50"]
    assert float(ours) == float(official) == pytest.approx(100)
    assert "Check: 1 of 1 annotations have a 'segmentation' that is a flat list" in out


def test_the_package_gets_the_flags_of_the_file(tmp_path, capsys):
    """pycocotools takes the text "0" for true: a difference that must not be hidden by lt_det's own reading."""
    boxes = [RESULTS[0] | {"bbox": [10, 10, 50, 50]}]
    assert evaluate(tmp_path, changed(iscrowd="0"), boxes) == 1
    out = capsys.readouterr().out
    ours, official = rows_of_check(out)["AP50"]
    assert (float(ours), official) == (pytest.approx(100), "n/a")
    assert "Check: lt_det reads the 'iscrowd' of 1 annotation " in out


def test_what_makes_a_package_fail_is_said(tmp_path, capsys):
    """pycocotools compares ids as they are written."""
    assert evaluate(tmp_path, DATA, [RESULTS[0] | {"image_id": "1", "bbox": [10, 10, 50, 50]}]) == 1
    assert re.search(r"pycocotools cannot take .*AssertionError", capsys.readouterr().err)


def world_of_both(seed):
    """Masks that are much smaller than their boxes, so that areas from box and mask are in different ranges."""
    rng = np.random.default_rng(seed)
    images = [
        {"id": i, "height": 200, "width": 200, "neg_category_ids": [1, 2], "not_exhaustive_category_ids": []}
        for i in (1, 2, 3)
    ]
    annotations, results = [], []
    for number in range(1, 25):
        x, y = rng.integers(0, 80, 2).tolist()
        w, h = rng.integers(20, 120, 2).tolist()
        of = {"image_id": int(rng.integers(1, 4)), "category_id": int(rng.integers(1, 3))}
        polygon = [x, y, x + w, y, x, y + h]
        annotations.append(
            {"id": number, **of, "bbox": [x, y, w, h], "area": w * h / 2, "iscrowd": 0, "segmentation": [polygon]}
        )
        moved = [v + float(m) for v, m in zip(polygon, rng.normal(0, 4, 6), strict=True)]
        mask = mask_utils.merge(mask_utils.frPyObjects([moved], 200, 200))
        mask["counts"] = mask["counts"].decode()
        box = [0, 0, 0, 0] if number == 5 else [x, y, w, h]  # lvis drops detections whose box has no area
        results.append({**of, "score": round(float(rng.random()), 2), "bbox": box, "segmentation": mask})
        if rng.random() < 0.5:
            results.append(results[-1] | {"image_id": int(rng.integers(1, 4)), "score": round(float(rng.random()), 2)})
    categories = [{"id": 1, "name": "a", "frequency": "r"}, {"id": 2, "name": "b", "frequency": "f"}]
    return {"images": images, "annotations": annotations, "categories": categories}, results


@pytest.mark.parametrize("protocol", ["lvis", "coco"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_results_with_boxes_and_masks_agree_both_ways(tmp_path, capsys, protocol, seed):
    data, results = world_of_both(seed)
    found = {}
    for area_from in ("mask", "box"):
        options = (
            "--iou",
            "segm",
            "--protocol",
            protocol,
            "--area-from",
            area_from,
            "--out",
            str(tmp_path / area_from),
        )
        assert evaluate(tmp_path, data, results, *options) == 0
        out = capsys.readouterr().out
        found[area_from] = rows_of_check(out)
        assert all(ours == official for ours, official in found[area_from].values())
        assert ("leaves 'bbox' out" in out) == (area_from == "mask")
        assert ("areas of masks are those of their boxes" in " ".join(out.split())) == (area_from == "box")
    assert found["mask"]["AP"] == found["box"]["AP"] or protocol == "lvis"
    assert found["mask"]["APm"] != found["box"]["APm"]
    assert all(not math.isnan(float(ours)) for ours, _ in found["mask"].values() if ours != "n/a")
    with pytest.raises(SystemExit):
        evaluate(tmp_path, data, results, "--area-from", "rle")
    assert evaluate(tmp_path, data, results, "--area-from", "box") == 1
    assert "--area-from box" in capsys.readouterr().err
