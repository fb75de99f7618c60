"""benchmarks/scale in small, and docs/scale.md, which is made from its results."""

import json

import pytest

from benchmarks.scale import page
from benchmarks.scale.__main__ import PARTS, keep
from benchmarks.scale.sizes import DATASETS
from lt_det.losses import LOSSES

CASES = {
    "training": {"stock", "stock, a box for each class", *LOSSES},
    "masks": {"one mask", "a mask for each class"},
    "detections": {"Detectron2, 20 proposals", "lt_det, 20 proposals", "lt_det, 1000 proposals"},
    "rounding": {"Detectron2", "lt_det"},
    "evaluation": {"lt_det"},
    "evaluation, stock": {"pycocotools"},
}


def test_the_results_have_every_part_at_every_number_of_classes():
    rows = json.loads(page.RESULTS.read_text())["rows"]
    for part in PARTS:
        for number in DATASETS.values():
            found = [row["case"] for row in rows if (row["part"], row["classes"]) == (part, number)]
            assert sorted(found) == sorted(CASES[part]), (part, number)


def test_the_page_is_that_of_the_results():
    text = page.page(json.loads(page.RESULTS.read_text()))
    assert page.PAGE.read_text() == text, "run python -m benchmarks.scale.page"


@pytest.mark.parametrize("part", ["masks", "detections", "rounding", "evaluation", "evaluation, stock"])
def test_parts_in_small(part):
    found = {row["case"]: row for row in PARTS[part](12)}
    assert set(found) == CASES[part]
    for row in found.values():
        assert row.get("images_with_other_detections", 0) == 0
        assert row.get("seconds", 1.0) > 0


@pytest.mark.slow
def test_training_in_small():
    found = {row["case"]: row for row in PARTS["training"](12)}
    assert set(found) == CASES["training"]
    stock, specific = found["stock"], found["stock, a box for each class"]
    assert specific["checkpoint_bytes"] > 2 * stock["checkpoint_bytes"]
    assert found["softmax"]["peak_bytes"] == pytest.approx(stock["peak_bytes"], rel=0.1)
    assert found["seesaw"]["state_bytes"] == 12 * 8


def test_rows_of_a_part_are_replaced(tmp_path):
    file = tmp_path / "results" / "scale.json"
    keep(file, "masks", 365, [{"case": "one mask"}])
    keep(file, "rounding", 365, [{"case": "lt_det"}])
    keep(file, "masks", 365, [{"case": "a mask for each class"}])
    rows = json.loads(file.read_text())["rows"]
    assert [(row["part"], row["case"]) for row in rows] == [("masks", "a mask for each class"), ("rounding", "lt_det")]
