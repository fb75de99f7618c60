"""Repeat factors against Detectron2's, and what the log says about them."""

import logging

import numpy as np
import pytest
from detectron2.data import get_detection_dataset_dicts
from detectron2.data.samplers import RepeatFactorTrainingSampler

from lt_det.data import register_dataset
from lt_det.data.sampling.repeat_factors import repeat_factor_sampler
from lt_det.data.sampling.samplers import annotated_classes
from lt_det.statistics.buckets import FrequencyBuckets
from lt_det.statistics.class_stats import ClassStats


@pytest.fixture(scope="module")
def images(mini):
    register_dataset("repeat_train", mini.train_json, mini.image_root)
    return get_detection_dataset_dicts("repeat_train", filter_empty=False)


@pytest.fixture(scope="module")
def buckets(mini):
    return FrequencyBuckets.from_edges(ClassStats.from_json(mini.train_json))


@pytest.mark.parametrize("threshold", [0.001, 0.1, 0.9])
def test_factors_are_detectron2s(images, buckets, threshold):
    images = [*images, {**images[0], "annotations": []}]
    ours = repeat_factor_sampler(images, threshold, buckets, seed=0)
    theirs = RepeatFactorTrainingSampler.repeat_factors_from_category_frequency(images, threshold)
    assert (ours._int_part + ours._frac_part).tolist() == theirs.tolist()


def test_summary_by_bucket(caplog):
    """Class 0 in 16 images, class 1 in four, of which one holds three of its six instances; class 2 in none."""
    images = [{"annotations": [{"category_id": 0}]} for _ in range(16)]
    images += [{"annotations": [{"category_id": 1}] * n} for n in (3, 1, 1, 1)]
    images += [{}] * 4  # 24 images: class 1 occurs in 1/6 of them
    stats = ClassStats(("a", "b", "c"), np.array([16, 4, 0]), None, 20, "a test")
    with caplog.at_level(logging.INFO):
        repeat_factor_sampler(images, 4 / 6, FrequencyBuckets.from_edges(stats, [5], ["few", "many"]), seed=0)
    (record,) = caplog.records
    head, lines = record.getMessage().split("\n", 1)
    for figure in ("1 of 3 classes", "threshold 0.666667", "16.7% of the images", "1.17 times"):
        assert figure in head
    assert lines == (
        "  unseen: 0 of 1 class below, 0.00% of the instances before, 0.00% after\n"
        "  few: 1 of 1 class below, 27.27% of the instances before, 42.86% after\n"
        "  many: 0 of 1 class below, 72.73% of the instances before, 57.14% after"
    )


@pytest.mark.parametrize(("threshold", "said"), [(1e-6, "None of the 12 classes"), (1.5, "All 12 classes")])
def test_threshold_that_separates_nothing(images, buckets, threshold, said, caplog):
    repeat_factor_sampler(images, threshold, buckets, seed=0)
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warning.startswith(said)
    assert f"DATALOADER.REPEAT_THRESHOLD {threshold:g}" in warning


def test_images_without_annotations():
    images, classes = annotated_classes(
        [{"annotations": [{"category_id": 4}, {"category_id": 2}]}, {}, {"annotations": []}]
    )
    assert images.tolist() == [0, 0]
    assert classes.tolist() == [4, 2]
