"""Long-tailed subsets: counts near their targets, whole images, honest counts in the result."""

import json
from collections import Counter

import numpy as np
import pytest

from lt_det.datasets.image_selection import select_images
from lt_det.datasets.imbalance import target_counts
from lt_det.datasets.subset import LongTail, long_tailed_subset
from lt_det.datasets.subset_files import write_subset, write_with_classes_of
from lt_det.errors import LtDetError
from lt_det.statistics.class_stats import ClassStats
from tests.helpers.annotation_files import write_litter, write_lvis_sample


def dataset(classes_of):
    """One object of each listed class in each image; category ids are 10, 20, ..."""
    pairs = [(image, k) for image, classes in enumerate(classes_of) for k in classes]
    return {
        "info": {"year": 2020},
        "images": [{"id": i + 7, "width": 9, "height": 9, "file_name": f"{i}.jpg"} for i in range(len(classes_of))],
        "annotations": [
            {"id": n, "image_id": image + 7, "category_id": 10 * (k + 1), "bbox": [0, 0, 5, 5.5]}
            for n, (image, k) in enumerate(pairs)
        ],
        "categories": [{"id": 10 * (k + 1), "name": f"class{k}"} for k in range(1 + max(k for _, k in pairs))],
        "mine": [{"any": None}, 2],
    }


def single_label(num_classes, images_of_each):
    return dataset([[k] for _ in range(images_of_each) for k in range(num_classes)])


def crowded(num_images=1500, num_classes=20, seed=0):
    """Class 0 is in half of the images, others in 20 % to 5 %; images of one subject share their classes."""
    rng = np.random.default_rng(seed)
    subject, of_class = rng.integers(4, size=num_images), rng.integers(4, size=num_classes)
    chances = np.concatenate([[0.5], np.linspace(0.2, 0.05, num_classes - 1)])
    chances = np.where(subject[:, None] == of_class, np.minimum(1, 3 * chances), chances / 3)
    return [np.flatnonzero(row).tolist() for row in rng.random((num_images, num_classes)) < chances]


def images_of_classes(data):
    return Counter(c for _, c in {(a["image_id"], a["category_id"]) for a in data["annotations"]})


@pytest.mark.parametrize("kind", ["exponential", "step"])
def test_one_class_per_image_gives_long_tailed_cifar(kind):
    data = single_label(10, 100)
    subset, plan = long_tailed_subset(data, LongTail(kind, 20, order="index"))
    expected = target_counts(kind, 20, 10, 100)
    assert [images_of_classes(subset)[10 * (k + 1)] for k in range(10)] == expected
    assert plan.achieved.tolist() == plan.targets.tolist() == expected
    assert (plan.before == 100).all()
    assert plan.ratio == 20


@pytest.mark.parametrize("kind", ["exponential", "step"])
def test_targets_are_met_with_several_classes_in_an_image(kind):
    data = dataset(crowded())
    subset, plan = long_tailed_subset(data, LongTail(kind, 10))
    counts = images_of_classes(subset)
    assert [counts[10 * (k + 1)] for k in plan.classes] == plan.achieved.tolist()
    assert plan.deviations.mean() < 0.05
    assert plan.achieved.min() >= 1
    by_count = [images_of_classes(data)[10 * (k + 1)] for k in plan.classes]
    assert by_count == sorted(by_count, reverse=True) == plan.before.tolist()
    kept = {image["id"] for image in subset["images"]}
    assert subset["annotations"] == [a for a in data["annotations"] if a["image_id"] in kept]
    assert subset["images"] == [image for image in data["images"] if image["id"] in kept]


def test_local_search_is_near_the_best_selection():
    """All 2^12 selections of small sets, by brute force."""
    targets = np.array([6, 4, 3, 2, 1])
    chosen = (np.arange(2**12)[:, None] >> np.arange(12)) & 1
    excess = []
    for seed in range(20):
        held = np.random.default_rng(seed).random((12, 5)) < 0.6
        counts = chosen @ held
        costs = ((counts - targets) ** 2 / targets).sum(axis=1)
        selected = select_images([np.flatnonzero(row).tolist() for row in held], targets.tolist(), seed)
        found = ((held[selected].sum(axis=0) - targets) ** 2 / targets).sum()
        excess.append(found - costs[(counts > 0).all(axis=1)].min())
    assert min(excess) == pytest.approx(0, abs=1e-9)
    assert np.mean(excess) < 0.8  # about one image too many or too few of one rare class


def test_no_class_is_lost():
    """The only image of class 2 has many images' worth of others; it is kept all the same."""
    classes_of = [[0, 1, 2]] + [[0]] * 3 + [[1]] * 3
    selected = select_images(classes_of, [1, 1, 1])
    assert 0 in selected
    subset, plan = long_tailed_subset(dataset(classes_of), LongTail("exponential", 1))
    assert images_of_classes(subset)[30] == 1
    assert plan.possible == 1
    assert plan.names[plan.limit] == "class2"


def test_n_max_is_lowered_until_images_allow_the_targets():
    data = dataset(crowded())
    _, plan = long_tailed_subset(data, LongTail("step", 20))
    assert plan.possible / 2 <= plan.targets[0] < plan.possible
    _, fixed = long_tailed_subset(data, LongTail("step", 20, largest=plan.possible))
    assert fixed.targets[0] == plan.possible
    assert fixed.deviations.mean() > 0.2 > 0.05 > plan.deviations.mean()


def test_classes_with_one_image_allow_a_ratio_by_rounding():
    """As in LVIS, where many classes have one image: with n_max 8, n_k is 2.8 for the third and 1 for the last two."""
    data = dataset([[0]] * 20 + [[1]] * 10 + [[2]] * 3 + [[3], [4]])
    _, plan = long_tailed_subset(data, LongTail("exponential", 8))
    assert plan.targets.tolist() == plan.achieved.tolist() == [8, 4, 2, 1, 1]


def test_orders_and_seeds():
    data = dataset(crowded(400))
    by_seed = [long_tailed_subset(data, LongTail("step", 5, seed=seed)) for seed in (0, 0, 1)]
    assert by_seed[0][0] == by_seed[1][0] != by_seed[2][0]
    _, by_index = long_tailed_subset(data, LongTail("step", 5, order="index"))
    assert by_index.classes.tolist() == list(range(20))
    random = [long_tailed_subset(data, LongTail("step", 5, order="random", seed=seed))[1].classes for seed in (0, 1)]
    assert sorted(random[0]) == sorted(random[1]) == list(range(20))
    assert random[0].tolist() != random[1].tolist()


def test_fewer_classes(tmp_path):
    source = write_lvis_sample(tmp_path / "all.json")
    before = json.loads(source.read_text())
    write_subset(source, tmp_path / "train.json", LongTail("exponential", 2, num_classes=5))
    subset = json.loads((tmp_path / "train.json").read_text())
    ids = {category["id"] for category in subset["categories"]}
    most = [id_ for id_, _ in sorted(images_of_classes(before).items(), key=lambda pair: (-pair[1], pair[0]))]
    assert ids == set(most[:5])
    assert {a["category_id"] for a in subset["annotations"]} == ids
    for image in subset["images"]:
        original = next(record for record in before["images"] if record["id"] == image["id"])
        for key in ("neg_category_ids", "not_exhaustive_category_ids"):
            assert image[key] == [id_ for id_ in original[key] if id_ in ids]
    ClassStats.from_json(tmp_path / "train.json")  # which refuses lists with unknown categories

    written = write_with_classes_of(source, tmp_path / "train.json", tmp_path / "val.json")
    val = json.loads((tmp_path / "val.json").read_text())
    assert val["categories"] == subset["categories"]
    assert written.num_images == len(val["images"]) == 60
    assert val["annotations"] == [a for a in before["annotations"] if a["category_id"] in ids]


def test_counts_of_lvis_categories_are_those_of_the_subset(tmp_path):
    source = write_lvis_sample(tmp_path / "all.json")
    plan, whole, written = write_subset(source, tmp_path / "train.json", LongTail("exponential", 3))
    subset = json.loads((tmp_path / "train.json").read_text())
    before = json.loads(source.read_text())
    stats = ClassStats.from_json(tmp_path / "train.json")
    assert [c["image_count"] for c in subset["categories"]] == stats.image_counts.tolist()
    assert [c["instance_count"] for c in subset["categories"]] == stats.instance_counts.tolist()
    letters = ["r" if n <= 10 else "c" if n <= 100 else "f" for n in stats.image_counts]
    assert [c["frequency"] for c in subset["categories"]] == letters
    counted = ("frequency", "image_count", "instance_count")
    for category, old in zip(subset["categories"], before["categories"], strict=True):
        assert category == old | {key: category[key] for key in counted}
    assert stats.image_counts[plan.classes].tolist() == plan.achieved.tolist()
    assert written.stats.image_counts.tolist() == stats.image_counts.tolist()
    assert whole.image_counts[plan.classes].tolist() == plan.before.tolist()
    assert subset["images"] == [image for image in before["images"] if image["id"] in plan.images]


def test_the_file_has_what_the_function_returns(tmp_path):
    source = write_litter(tmp_path / "all.json")
    data = json.loads(source.read_text())
    extra = {"info": {"höhe": "ü"}, "lists": [{"a": 1}, [2**70, None]], "empty": [], "number": 1.5}
    source.write_text(json.dumps({"scenes": [1], **data, **extra}))
    long_tail = LongTail("exponential", 5, seed=3)
    write_subset(source, tmp_path / "new" / "subset.json", long_tail)
    written = json.loads((tmp_path / "new" / "subset.json").read_text())
    subset, _ = long_tailed_subset(json.loads(source.read_text()), long_tail)
    assert written == subset
    assert "frequency" not in written["categories"][0]
    assert written["lists"] == extra["lists"]
    assert written["categories"] == data["categories"]


def test_what_training_does_not_see_is_not_counted():
    data = single_label(3, 20)
    for annotation in data["annotations"][:3]:
        annotation["iscrowd"] = 1
    subset, plan = long_tailed_subset(data, LongTail("step", 2))
    assert plan.before.tolist() == [19] * 3
    assert not {7, 8, 9} & {image["id"] for image in subset["images"]}


def test_references_of_another_type(tmp_path):
    data = single_label(3, 20)
    expected, _ = long_tailed_subset(data, LongTail("step", 2))
    for annotation in data["annotations"]:
        annotation["image_id"] = str(annotation["image_id"])
        annotation["category_id"] = float(annotation["category_id"])
    subset, _ = long_tailed_subset(data, LongTail("step", 2))
    assert subset["images"] == expected["images"]
    assert len(subset["annotations"]) == len(expected["annotations"])
    assert all(type(a["image_id"]) is str for a in subset["annotations"])


@pytest.mark.parametrize(
    ("long_tail", "named"),
    [
        (LongTail("pareto", 2), "pareto"),
        (LongTail("step", 0.5), "0.5"),
        (LongTail("step", 50), "ratio 50.*20 images"),
        (LongTail("step", 2, largest=21), "21 images.*at most 20"),
        (LongTail("step", 5, largest=3), "3 images.*ratio 5.*at least 5"),
        (LongTail("step", 2, num_classes=4), "4 classes.*3 classes"),
        (LongTail("step", 2, num_classes=1), "1 class "),
        (LongTail("step", 2, num_classes=0), "0 classes.*at most 3"),
        (LongTail("step", 2, largest=0), "0 images.*at least 2"),
        (LongTail("step", 2, order="size"), "'size'"),
    ],
)
def test_impossible_long_tails(long_tail, named):
    with pytest.raises(LtDetError, match=named):
        long_tailed_subset(single_label(3, 20), long_tail)


def test_classes_of_a_subset_without_frequencies(tmp_path):
    """The validation json has `frequency`, from which evaluation takes the buckets; the subset only has the counts."""
    validation = single_label(2, 3)
    for category in validation["categories"]:
        category["frequency"] = "f"
    for name, data in (("subset", single_label(2, 11)), ("val", validation)):
        (tmp_path / f"{name}.json").write_text(json.dumps(data))
    write_with_classes_of(tmp_path / "val.json", tmp_path / "subset.json", tmp_path / "out.json")
    written = json.loads((tmp_path / "out.json").read_text())["categories"]
    assert written == [{**category, "frequency": "c"} for category in validation["categories"]]


def test_classes_of_another_dataset(tmp_path):
    for name, data in (("subset", single_label(2, 3)), ("val", single_label(2, 3)), ("one", single_label(1, 3))):
        (tmp_path / f"{name}.json").write_text(json.dumps(data))
    renamed = single_label(2, 3)
    renamed["categories"][1]["name"] = "cup"
    (tmp_path / "renamed.json").write_text(json.dumps(renamed))
    for name, found in (("one", "class1.*is missing"), ("renamed", "class1.*is 'cup'")):
        with pytest.raises(LtDetError, match=found):
            write_with_classes_of(tmp_path / f"{name}.json", tmp_path / "subset.json", tmp_path / "out.json")
    assert not (tmp_path / "out.json").exists()


def test_real_long_tail(taco):
    _, plan = long_tailed_subset(json.loads(taco.read_text()), LongTail("exponential", 10))
    assert plan.deviations.mean() < 0.05
