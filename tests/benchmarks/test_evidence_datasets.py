"""The datasets that the evidence's plans make from others."""

from __future__ import annotations

import json

from benchmarks.evidence.datasets import make_dataset

_DATASETS = {
    "source": {"num_train": 300, "num_val": 10, "num_classes": 6, "imbalance": "exponential", "ratio": 20},
    "thinned": {"thinned_from": "source", "fraction": 0.8},
}


def test_frequent_classes_lose_annotations_and_stay_frequent(tmp_path):
    before, after = (_images_of_classes(make_dataset(tmp_path, name, _DATASETS)) for name in ("source", "thinned"))
    assert max(before.values()) > 101 > min(before.values())
    for category, images in before.items():
        assert after[category] == (images if images <= 101 else max(images - round(0.8 * images), 101))


def test_a_thinned_dataset_has_the_images_and_the_validation_set_of_its_source(tmp_path):
    source, thinned = (make_dataset(tmp_path, name, _DATASETS) / "mini_lvis" for name in ("source", "thinned"))
    for file in ("mini_lvis_val.json", "train/000000000001.jpg"):
        assert (thinned / file).read_bytes() == (source / file).read_bytes()


def _images_of_classes(folder):
    content = json.loads((folder / "mini_lvis" / "mini_lvis_train.json").read_text())
    pairs = {(annotation["category_id"], annotation["image_id"]) for annotation in content["annotations"]}
    categories = [category for category, _ in pairs]
    return {category: categories.count(category) for category in set(categories)}
