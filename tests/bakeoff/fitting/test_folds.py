import logging

import numpy as np
import pytest

from lt_det.bakeoff.cache.tables import RoiTable
from lt_det.bakeoff.fitting import describe_classes, image_folds
from lt_det.errors import LtDetError
from tests.helpers.rois import synthetic_rois


def table(images_of_class, images):
    """A table with one RoI for each image and class, and a background RoI in each image."""
    pairs = [(image, k) for k, found in enumerate(images_of_class) for image in found]
    pairs += [(image, len(images_of_class)) for image in range(images)]
    owners, labels = np.array(sorted(pairs)).T
    ones = np.ones(len(owners), dtype=np.float32)
    return RoiTable(
        np.zeros((len(owners), 2), np.float16), labels, owners, ones, ones, list(range(images)), len(images_of_class)
    )


def images_in(rois, fold, k):
    return len(np.intersect1d(fold, rois.images[rois.labels == k]))


@pytest.mark.parametrize("k", [2, 3, 5])
def test_each_image_is_held_out_once(k):
    rois = synthetic_rois()
    folds = image_folds(rois, k, seed=0)
    assert sorted(np.concatenate(folds)) == list(range(len(rois.image_ids)))
    assert max(map(len, folds)) - min(map(len, folds)) <= len(rois.image_ids) // 10


def test_rare_classes_are_on_all_sides():
    rois = synthetic_rois(counts=(400, 200, 60, 6, 3))
    for seed in range(5):
        folds = image_folds(rois, 3, seed)
        for k in range(rois.num_classes):
            found = [images_in(rois, fold, k) for fold in folds]
            total = sum(found)
            assert min(found) >= (1 if total >= 3 else 0)
            assert max(found) - min(found) <= max(1, 0.2 * total)


def test_the_seed_decides():
    rois = synthetic_rois()
    one, same, other = (image_folds(rois, 3, seed) for seed in (0, 0, 1))
    assert all(map(np.array_equal, one, same))
    assert not all(map(np.array_equal, one, other))


@pytest.mark.parametrize("k", [0, 1, 7])
def test_impossible_numbers_of_folds(k):
    with pytest.raises(LtDetError, match=f"6 training images.* {k} folds?"):
        image_folds(table([[0, 1, 2]], 6), k, seed=0)


def test_classes_that_cannot_be_split_are_named(caplog):
    rois = table([[0, 1, 2, 3], [4], []], 6)
    folds = image_folds(rois, 2, seed=0)
    with caplog.at_level(logging.WARNING):
        sentences = describe_classes(rois, folds, ["common", "single", "absent"])
    assert len(sentences) == 2
    assert sentences[0].endswith("absent.")
    assert sentences[1].endswith("single.")
    assert [record.getMessage() for record in caplog.records] == sentences


def test_nothing_to_say():
    rois = table([[0, 1], [1, 2, 3, 0]], 4)
    assert describe_classes(rois, image_folds(rois, 2, seed=0), ["a", "b"]) == []


def test_many_names_are_cut():
    rois = table([[0, 1]] + [[]] * 30, 2)
    (sentence,) = describe_classes(rois, image_folds(rois, 2, seed=0), [f"class{k}" for k in range(31)])
    assert sentence.endswith("class10 and 20 more.")
    assert sentence.startswith("30 of 31 classes")
