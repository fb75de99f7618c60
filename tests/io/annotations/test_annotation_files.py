"""Generated annotation files have the traits of real ones, and are read like them."""

import json

import numpy as np

from lt_det.io.annotations.checks import find_problems
from lt_det.io.annotations.coco_json import load_annotations
from lt_det.statistics.class_stats import ClassStats


def test_litter(litter):
    data = load_annotations(litter)
    problems = [problem for problem in find_problems(data, litter) if not problem.fatal]
    assert problems == list(find_problems(data, litter))
    assert len(problems) == 3  # as in TACO: two ids used twice, and a box that leaves its image
    assert all("is used 2 times" in problem.message for problem in problems[:2])
    assert "exceeds image" in problems[2].message
    assert sum(annotation["iscrowd"] for annotation in data["annotations"]) == 1
    assert sum("segmentation" not in annotation for annotation in data["annotations"]) == 1
    stats = ClassStats.from_json(litter)
    assert [stats.names[k] for k in np.flatnonzero(stats.image_counts == 0)] == ["Plastified paper bag"]
    assert stats.instance_counts.sum() == len(data["annotations"]) - 1  # without the crowd region
    assert stats.image_counts.max() > 100  # a frequent class
    assert stats.image_counts[:-1].min() > 0


def test_lvis_sample(small_lvis):
    assert not list(find_problems(load_annotations(small_lvis), small_lvis))
    content = json.loads(small_lvis.read_text())
    stats = ClassStats.from_json(small_lvis)
    assert stats.image_counts.tolist() == [category["image_count"] for category in content["categories"]]
    assert stats.instance_counts.tolist() == [category["instance_count"] for category in content["categories"]]
    for image in content["images"]:
        present = {a["category_id"] for a in content["annotations"] if a["image_id"] == image["id"]}
        assert not present & set(image["neg_category_ids"])
        assert set(image["not_exhaustive_category_ids"]) <= present
