"""Limits of a cache, its size, and the choice of images."""

import numpy as np
import pytest

from lt_det.bakeoff.features.selection import choose_images
from lt_det.bakeoff.features.size import CacheSize, TrainingSample, thinning_for
from lt_det.bakeoff.features.training_rois import Thinning
from lt_det.errors import LtDetError

LVIS = TrainingSample(images=99_388, ground_truth=1_270_141, batch_size=512, positive_fraction=0.25)


@pytest.mark.parametrize("max_rois", [None, 60_000_000])
def test_a_limit_that_is_not_reached_thins_nothing(max_rois):
    assert thinning_for(LVIS, max_rois, 1.0) == Thinning(1, 1)
    assert thinning_for(LVIS, max_rois, 0.1) == Thinning(1, 0.1)


@pytest.mark.parametrize("background_fraction", [1.0, 0.02])
@pytest.mark.parametrize("max_rois", [1_300_000, 5_000_000, 20_000_000, 40_000_000])
def test_a_limit_is_kept_and_used_up(max_rois, background_fraction):
    thinning = thinning_for(LVIS, max_rois, background_fraction)
    assert LVIS.rois(thinning) == pytest.approx(min(max_rois, LVIS.rois(Thinning(1, background_fraction))))
    assert 0 < thinning.background <= background_fraction
    assert thinning.foreground <= 1
    # Foreground is thinned only where less background than foreground is left.
    assert (
        thinning.foreground == 1 or thinning.background * LVIS.background <= thinning.foreground * LVIS.foreground + 1
    )


def test_lvis_on_paper():
    """The figures in the docstring of the module."""
    thinning = thinning_for(LVIS, 5_000_000, 1.0)
    assert (thinning.foreground, thinning.background) == pytest.approx((0.147, 0.049), abs=0.001)
    options = {"channels": 1024, "num_stages": 1, "bytes_per_feature": 2}
    whole = CacheSize.of(99_388 * 512, {}, **options)
    limited = CacheSize.of(5_000_000, {"val": 19_809_000, "train": 5_000_000}, **options)
    assert whole.num_bytes / 1e9 == pytest.approx(105, abs=1)
    assert limited.num_bytes / 1e9 == pytest.approx(10 + 81 + 21, abs=1)
    assert str(limited) == "5,000,000 RoIs, 19,809,000 proposals of val and 5,000,000 proposals of train: 112.37 GB"


def test_limit_without_room_for_the_ground_truth():
    with pytest.raises(LtDetError, match="1270141 ground-truth boxes"):
        thinning_for(LVIS, 1_270_141, 1.0)


def test_rare_classes_are_chosen_first():
    """Class k occurs in 4^k of 256 images; an image may have several, and the last ones have none."""
    generator = np.random.default_rng(0)
    images, classes = [], []
    for k in range(4):
        images += generator.choice(200, 4**k, replace=False).tolist() * 2  # two instances each
        classes += [k] * 4**k * 2
    images, classes = np.asarray(images), np.asarray(classes)
    chosen = choose_images(images, classes, 256, 30, seed=0)
    assert len(chosen) == len(set(chosen)) == 30
    assert list(chosen) == sorted(chosen)
    counts = [len(set(images[classes == k]) & set(chosen)) for k in range(4)]
    assert counts[:2] == [1, 4]
    assert min(counts[2:]) >= 9
    other = choose_images(images, classes, 256, 30, seed=1)
    assert list(other) != list(chosen)
    np.testing.assert_array_equal(choose_images(images, classes, 256, 500, seed=0), np.arange(256))
    annotated = len(set(images))
    assert set(choose_images(images, classes, 256, annotated, seed=0)) == set(images)
