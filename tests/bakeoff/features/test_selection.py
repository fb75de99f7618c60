"""The choice of images that stand for all: rare classes are kept, and weights undo what that changes."""

import numpy as np
import pytest

from lt_det.bakeoff.features.selection import sample_images

IMAGES, N = 2000, 300
IMAGES_OF_CLASS = [1, 2, 4, 8, 30, 60, 120, 400, 900, 1500]


@pytest.fixture(scope="module")
def annotations():
    """Image and class of each annotation; no image is without."""
    generator = np.random.default_rng(0)
    pairs = [(image, k) for k, n in enumerate(IMAGES_OF_CLASS) for image in generator.choice(IMAGES, n, replace=False)]
    missing = sorted(set(range(IMAGES)) - {image for image, _ in pairs})
    images, classes = np.array([*pairs, *((image, len(IMAGES_OF_CLASS) - 1) for image in missing)]).T
    return images, classes


def counts(annotations, weight_of):
    images, classes = annotations
    return np.bincount(classes, weight_of[images], minlength=len(IMAGES_OF_CLASS))


def test_every_class_is_kept(annotations):
    chosen, weights = sample_images(*annotations, IMAGES, N, seed=0)
    assert len(chosen) == len(weights) == N
    assert (np.diff(chosen) > 0).all()
    assert weights.mean() == pytest.approx(1)
    found = counts(annotations, np.isin(np.arange(IMAGES), chosen).astype(float))
    assert found[:4].tolist() == IMAGES_OF_CLASS[:4]
    assert found.min() >= 1


def test_weighted_images_have_the_composition_of_all(annotations):
    totals, unweighted = [], []
    for seed in range(15):
        chosen, weights = sample_images(*annotations, IMAGES, N, seed)
        weight_of = np.zeros(IMAGES)
        weight_of[chosen] = weights
        totals.append(counts(annotations, weight_of) * IMAGES / N)
        unweighted.append(counts(annotations, (weight_of > 0).astype(float)) * IMAGES / N)
    every = counts(annotations, np.ones(IMAGES))
    np.testing.assert_allclose(np.mean(totals, axis=0), every, rtol=0.15)
    assert (np.mean(unweighted, axis=0)[:4] > 4 * every[:4]).all()


def test_images_without_annotations(annotations):
    """They are last in the choice for the classes, and are reached by the random one."""
    images, classes = annotations
    chosen, weights = sample_images(images, classes, IMAGES + 500, N, seed=0)
    without = chosen >= IMAGES
    assert without.any()
    assert weights[without] == pytest.approx(weights.max())
    chosen, weights = sample_images(np.arange(5), classes[:5], 50, 40, seed=0)
    assert (len(chosen), weights.mean()) == (40, pytest.approx(1))
    assert np.isfinite(weights).all()


def test_all_images(annotations):
    chosen, weights = sample_images(*annotations, IMAGES, IMAGES, seed=0)
    assert chosen.tolist() == list(range(IMAGES))
    assert weights == pytest.approx(1)
