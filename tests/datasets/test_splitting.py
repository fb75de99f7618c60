"""Splits by image: nothing is lost, rare classes are in every part, groups stay together."""

import json
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from lt_det.datasets.splitting import split_by_image
from lt_det.errors import LtDetError
from tests.helpers import REPOSITORY


def dataset(classes_of, num_classes=None):
    """Annotations with one instance of each listed class in each image; category ids are 10, 20, ..."""
    num_classes = num_classes or 1 + max(k for classes in classes_of for k in classes)
    pairs = [(image, k) for image, classes in enumerate(classes_of) for k in classes]
    return {
        "info": {"year": 2020},
        "licenses": [{"id": 1}],
        "images": [
            {"id": i + 7, "width": 9, "height": 9, "file_name": f"{i}.jpg", "neg_category_ids": [10]}
            for i in range(len(classes_of))
        ],
        "annotations": [
            {"id": n, "image_id": image + 7, "category_id": 10 * (k + 1), "bbox": [0, 0, 5, 5.5], "score": n / 3}
            for n, (image, k) in enumerate(pairs)
        ],
        "categories": [{"id": 10 * (k + 1), "name": f"class{k}", "frequency": "r"} for k in range(num_classes)],
        "mine": {"any": [None, "thing"]},
    }


def long_tail(num_images=400, num_classes=30, seed=0):
    """A class list for each image: class k is in about 1/(k+1) of half of the images; the last one in one image."""
    rng = np.random.default_rng(seed)
    chances = 0.5 / np.arange(1, num_classes + 1)
    classes = [np.flatnonzero(rng.random(num_classes) < chances).tolist() for _ in range(num_images)]
    classes = [[k for k in found if k < num_classes - 3] for found in classes]
    for k, images in ((1, [0]), (2, [1, 2]), (3, [3, 4, 5])):  # classes in one, two and three images
        for image in images:
            classes[image].append(num_classes - k)
    return classes


def images_of_classes(part):
    return Counter(c for _, c in {(a["image_id"], a["category_id"]) for a in part["annotations"]})


@pytest.mark.parametrize("fractions", [(0.8, 0.2), (0.7, 0.2, 0.1), (0.5, 0.5)])
def test_rare_classes_are_in_every_part(fractions):
    data = dataset(long_tail())
    parts = split_by_image(data, fractions)
    counts, in_parts = images_of_classes(data), [images_of_classes(part) for part in parts]
    for class_, count in counts.items():
        expected = min(count, len(parts))  # the first parts get a class with few images
        assert [found[class_] > 0 for found in in_parts] == [i < expected for i in range(len(parts))], class_
        if count >= 40:
            assert [found[class_] / count for found in in_parts] == pytest.approx(fractions, abs=0.05)
    assert [len(part["images"]) / 400 for part in parts] == pytest.approx(fractions, abs=0.02)


def test_nothing_is_lost_or_changed():
    data = dataset(long_tail(60, 8))
    before = json.dumps(data)
    parts = split_by_image(data, (0.6, 0.4))
    assert json.dumps(data) == before
    for key in ("images", "annotations"):
        merged = [record for part in parts for record in part[key]]
        assert sorted(merged, key=lambda record: record["id"]) == data[key]
    for part in parts:
        assert list(part) == list(data)
        assert all(part[key] == data[key] for key in ("info", "licenses", "categories", "mine"))
        ids = [image["id"] for image in part["images"]]
        assert ids == sorted(ids)
        assert {a["image_id"] for a in part["annotations"]} <= set(ids)
    assert split_by_image(data, (0.6, 0.4)) == parts
    assert split_by_image(data, (0.6, 0.4), seed=1) != parts


def test_same_split_whatever_the_hash_seed():
    """Ids that are texts hash differently in each process."""
    program = (
        "import json, sys; from lt_det.datasets.splitting import split_by_image\n"
        "data = json.loads(sys.stdin.read())\n"
        "print([image['id'] for image in split_by_image(data, (0.7, 0.3))[1]['images']])"
    )
    data = dataset(long_tail(80, 12))
    for category in data["categories"]:
        category["id"] = f"c{category['id']}"
    for annotation in data["annotations"]:
        annotation["category_id"] = f"c{annotation['category_id']}"
    for image in data["images"]:
        del image["neg_category_ids"]
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            input=json.dumps(data),
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


def test_groups_stay_together():
    data = dataset(long_tail(200, 10))
    for image in data["images"]:
        image["video_id"] = image["id"] % 23
    parts = split_by_image(data, (0.75, 0.25), group_of=lambda image: image["video_id"])
    first, second = ({image["video_id"] for image in part["images"]} for part in parts)
    assert not first & second
    assert len(parts[1]["images"]) / 200 == pytest.approx(0.25, abs=0.06)
    counts = [images_of_classes(part) for part in parts]
    videos = {c: set() for c in images_of_classes(data)}
    for annotation in data["annotations"]:
        videos[annotation["category_id"]].add(annotation["image_id"] % 23)
    assert all(counts[1][c] for c, of_class in videos.items() if len(of_class) > 1)
    assert all(counts[0][c] for c in videos)


@pytest.mark.parametrize("seed", range(4))
def test_large_groups_are_for_training(seed):
    data = dataset([[0, 1]] * 100)
    parts = split_by_image(data, (0.8, 0.2), seed, group_of=lambda image: max(0, image["id"] - 90))
    sizes = [len(part["images"]) for part in parts]
    assert sizes == [84, 16]  # the group of 84 images, and the sixteen of one


def test_records_of_one_file_stay_together():
    data = dataset([[0]] * 40)
    for image in data["images"]:
        image["file_name"] = f"{image['id'] // 2}.jpg"
    parts = split_by_image(data, (0.5, 0.5))
    first, second = ({image["file_name"] for image in part["images"]} for part in parts)
    assert not first & second


def test_images_without_annotations_and_crowd_regions():
    data = dataset([[]] * 50 + [[0]] * 2 + [[1]] * 2, num_classes=2)
    data["annotations"][1]["iscrowd"] = "1"  # class 0 is in one image only, apart from this crowd region
    parts = split_by_image(data, (0.5, 0.5))
    assert [len(part["images"]) for part in parts] == [27, 27]
    objects = [{a["category_id"] for a in part["annotations"] if not a.get("iscrowd")} for part in parts]
    assert objects == [{10, 20}, {20}]


def test_references_of_another_type():
    data = dataset([[0], [0], [1], [1]])
    for annotation in data["annotations"]:
        annotation["image_id"] = str(annotation["image_id"])
    parts = split_by_image(data, (0.5, 0.5))
    assert [len(part["annotations"]) for part in parts] == [2, 2]
    assert all(type(a["image_id"]) is str for part in parts for a in part["annotations"])


def test_only_training_gets_what_cannot_be_in_both():
    """Three classes of two images each, in three images: one of the three cannot be in the second part."""
    parts = split_by_image(dataset([[0, 1], [1, 2], [0, 2]]), (0.5, 0.5))
    assert len(images_of_classes(parts[0])) == 3
    assert len(images_of_classes(parts[1])) == 2


@pytest.mark.parametrize(
    ("fractions", "images", "message"),
    [
        ((0.8, 0.3), 9, "sum is 1"),
        ((1.0,), 9, "sum is 1"),
        ((1.0, 0.0), 9, "positive"),
        ((float("nan"), 0.5), 9, "positive"),
        ((0.5, 0.3, 0.2), 2, "here are 2"),
    ],
)
def test_impossible_splits(fractions, images, message):
    with pytest.raises(LtDetError, match=message):
        split_by_image(dataset([[0]] * images), fractions)


def test_every_part_has_an_image():
    parts = split_by_image(dataset([[0]] * 20), (0.98, 0.01, 0.01))
    assert [len(part["images"]) for part in parts] == [18, 1, 1]


def test_broken_references():
    data = dataset([[0]] * 4)
    data["annotations"][2]["image_id"] = 99
    with pytest.raises(LtDetError, match="image 99"):
        split_by_image(data, (0.5, 0.5))
    data = dataset([[0]] * 4)
    data["images"][3]["id"] = data["images"][0]["id"]
    with pytest.raises(LtDetError, match="id 7"):
        split_by_image(data, (0.5, 0.5))


def test_real_long_tail(taco):
    data = json.loads(taco.read_text())
    counts = images_of_classes(data)
    parts = split_by_image(data, (0.8, 0.2))
    in_parts = [images_of_classes(part) for part in parts]
    assert all(found[c] for found in in_parts for c, count in counts.items() if count > 1)
    assert set(in_parts[0]) == set(counts)
