"""Saved counts are read strictly; counting in pieces gives what counting at once gives."""

import json

import numpy as np
import pytest

from lt_det.errors import LtDetError
from lt_det.statistics import counting
from lt_det.statistics.class_stats import ClassStats
from lt_det.statistics.counting import ClassCounter

GOOD = {
    "class_stats": 1,
    "source": "x",
    "fingerprint": "",
    "num_images": 9,
    "names": ["cup", "ß"],
    "image_counts": [4, 0],
    "instance_counts": [6, 0],
}


def test_good_files(tmp_path):
    file = tmp_path / "a.json"
    for content in (json.dumps(GOOD), json.dumps(GOOD, indent=2), json.dumps({**GOOD, "instance_counts": None})):
        file.write_text(content)
        stats = ClassStats.read_saved(file)
        assert stats.image_counts.tolist() == [4, 0]
        assert stats.names == ("cup", "ß")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("class_stats", 2),
        ("class_stats", True),
        ("source", 5),
        ("fingerprint", None),
        ("num_images", 9.0),
        ("num_images", -1),
        ("num_images", True),
        ("num_images", 3),  # fewer than those with a cup
        ("names", ["cup", 5]),
        ("names", ["cup"]),
        ("names", "cß"),
        ("names", []),
        ("names", ["cup", "\ud800"]),
        ("image_counts", [4.5, 0]),
        ("image_counts", ["4", 0]),
        ("image_counts", [True, 0]),
        ("image_counts", [float("nan"), 0]),
        ("image_counts", [2**70, 0]),
        ("image_counts", [[4], 0]),
        ("image_counts", [-4, 0]),
        ("image_counts", None),
        ("instance_counts", [3, 0]),  # fewer than images
        ("instance_counts", [6, 1]),
        ("instance_counts", [float("inf"), 0]),
        ("more", 1),
    ],
)
def test_other_values_are_refused(tmp_path, key, value):
    file = tmp_path / "a.json"
    file.write_text(json.dumps(GOOD | {key: value}))
    with pytest.raises(LtDetError, match=r"saved counts .*a\.json are corrupt"):
        ClassStats.from_json(file)


@pytest.mark.parametrize("key", [key for key in GOOD if key != "class_stats"])
def test_a_missing_key(tmp_path, key):
    file = tmp_path / "a.json"
    file.write_text(json.dumps({other: GOOD[other] for other in GOOD if other != key}))
    with pytest.raises(LtDetError, match=f"'{key}' is missing"):
        ClassStats.from_json(file)


@pytest.mark.parametrize("end", ['"a', "[" * 100_000, "NaN", "1" * 5000])
def test_no_json(tmp_path, end):
    file = tmp_path / "a.json"
    file.write_text('{"class_stats": 1, "source": ' + end)
    with pytest.raises(LtDetError, match="are corrupt"):
        ClassStats.from_json(file)


def test_mistakes_in_a_training_file_are_those_of_annotations(tmp_path):
    file = tmp_path / "a.json"
    data = {
        "images": [{"id": 1, "width": 9, "height": 9}],
        "categories": [{"id": 1, "name": "cup"}],
        "annotations": [{"id": 1, "image_id": 2, "category_id": 1, "bbox": [1, 1, 2, 2]}],
    }
    file.write_text(json.dumps(data))
    with pytest.raises(LtDetError, match="annotation 1: image 2 is not in 'images'"):
        ClassStats.from_json(file)


def test_counting_in_pieces(monkeypatch):
    monkeypatch.setattr(counting, "_PENDING", 10)
    rng = np.random.default_rng(0)
    categories = [{"id": k, "name": f"c{k}"} for k in range(7)]
    annotations = [
        {"id": i, "image_id": f"{image}", "category_id": int(k), "iscrowd": int(crowd)}
        for i, (image, k, crowd) in enumerate(zip(*rng.integers(0, [[40], [7], [2]], (3, 300)), strict=True))
    ]
    counter = ClassCounter(categories, "x")
    for start in range(0, 300, 17):
        counter.add(annotations[start : start + 17])
    kept = [a for a in annotations if not a["iscrowd"]]
    assert counter.instance_counts().tolist() == [sum(a["category_id"] == k for a in kept) for k in range(7)]
    pairs = {(a["image_id"], a["category_id"]) for a in kept}
    assert counter.image_counts().tolist() == [sum(c == k for _, c in pairs) for k in range(7)]
    assert counter.num_images == len({image for image, _ in pairs})
