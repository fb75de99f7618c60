import numpy as np
import pytest

from lt_det.bakeoff.candidates.sampling import ROI_SAMPLERS, class_totals, register_roi_sampler, row_weights
from lt_det.errors import LtDetError
from tests.helpers.rois import bakeoff_config, synthetic_rois

K = 5


@pytest.fixture(scope="module")
def rois():
    return synthetic_rois(counts=(400, 200, 60, 20, 0))


@pytest.fixture(scope="module")
def cfg(rois, tmp_path_factory):
    return bakeoff_config(rois, tmp_path_factory.mktemp("sampling"))


def weights_of(rois, cfg, sampler, images=None, seed=0):
    return row_weights(rois, images, sampler, cfg, np.random.default_rng(seed))


def background_fraction(rois, weights):
    return weights[rois.labels == K].sum() / weights.sum()


def test_plain_is_the_composition_of_a_training(rois, cfg):
    np.testing.assert_array_equal(weights_of(rois, cfg, "plain"), rois.weights)


@pytest.mark.parametrize("sampler", sorted(ROI_SAMPLERS))
def test_only_the_images_asked_for(sampler, rois, cfg):
    weights = weights_of(rois, cfg, sampler, np.arange(30))
    assert (weights[rois.images >= 30] == 0).all()
    assert weights.sum() > 0
    other = rois.weights.copy()
    assert (other == rois.weights).all()  # the table is not changed


@pytest.mark.parametrize("sampler", ["class_aware", "under_sampling"])
def test_the_fraction_of_background_stays(sampler, rois, cfg):
    plain = background_fraction(rois, weights_of(rois, cfg, "plain"))
    assert background_fraction(rois, weights_of(rois, cfg, sampler)) == pytest.approx(plain)


def test_class_aware_gives_classes_the_same_weight(rois, cfg):
    totals = class_totals(rois, weights_of(rois, cfg, "class_aware"))
    assert totals[:4] == pytest.approx([170.0] * 4)  # 680 RoIs, 4 classes
    assert totals[4] == 0


def test_under_sampling_discards_rows_of_frequent_classes(rois, cfg):
    weights = weights_of(rois, cfg, "under_sampling")
    kept = np.bincount(rois.labels[weights > 0], minlength=K + 1)
    assert kept.tolist() == [130, 130, 60, 20, 0, (rois.labels == K).sum()]  # the median of 400, 200, 60, 20 is 130
    other = weights_of(rois, cfg, "under_sampling", seed=1)
    assert ((other > 0) != (weights > 0)).any()


def test_repeat_factors_belong_to_images(rois, cfg):
    """r(I) = max over the classes in the image of sqrt(threshold / f)."""
    changed = cfg.clone()
    changed.DATALOADER.REPEAT_THRESHOLD = 0.5
    factors = weights_of(rois, changed, "repeat_factor") / rois.weights
    frequency = [len(np.unique(rois.images[rois.labels == k])) / 120 for k in range(4)]
    for image in range(120):
        rows = rois.images == image
        classes = np.unique(rois.labels[rows & (rois.labels < K)])
        expected = max([1.0, *(np.sqrt(0.5 / frequency[k]) for k in classes)])
        np.testing.assert_allclose(factors[rows], expected)


def test_without_a_threshold_half_of_the_classes_are_repeated(rois, cfg):
    factors = weights_of(rois, cfg, "repeat_factor") / rois.weights
    in_image = [set(rois.labels[rois.images == image].tolist()) for image in range(120)]
    raised = [image for image in range(120) if factors[rois.images == image].max() > 1]
    assert raised == [image for image in range(120) if in_image[image] & {2, 3}]


def test_a_sampler_of_the_users_own(rois, cfg):
    @register_roi_sampler("foreground only")
    def foreground_only(rois, weights, cfg, generator):
        return weights * (rois.labels < rois.num_classes)

    try:
        assert weights_of(rois, cfg, "foreground only").sum() == 680
        with pytest.raises(ValueError, match="foreground only"):
            register_roi_sampler("foreground only")(foreground_only)
    finally:
        ROI_SAMPLERS.pop("foreground only")


def test_a_sampler_with_a_mistake(rois, cfg):
    register_roi_sampler("wrong")(lambda rois, weights, cfg, generator: -weights)
    try:
        with pytest.raises(LtDetError, match="wrong"):
            weights_of(rois, cfg, "wrong")
    finally:
        ROI_SAMPLERS.pop("wrong")


def test_unknown_sampler(rois, cfg):
    with pytest.raises(LtDetError, match=r"'clever'.*class_aware"):
        weights_of(rois, cfg, "clever")
