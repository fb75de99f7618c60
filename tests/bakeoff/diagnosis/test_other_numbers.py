"""Influence, margins, deviation, confusion, weight norms and effective numbers against their formulas."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from lt_det.bakeoff.diagnosis.batches import Rois, each_batch
from lt_det.bakeoff.diagnosis.confusion import ConfusionCounts
from lt_det.bakeoff.diagnosis.effective_number import effective_numbers
from lt_det.bakeoff.diagnosis.feature_deviation import ClassSums, feature_deviation
from lt_det.bakeoff.diagnosis.influence import Foreground, influence, influence_by_margin
from lt_det.bakeoff.diagnosis.last_layer import LastLayer
from lt_det.bakeoff.diagnosis.margins import margins_by_class
from lt_det.bakeoff.diagnosis.quantiles import quantiles
from lt_det.bakeoff.diagnosis.stage import Settings, diagnose_stage
from lt_det.bakeoff.features.selection import sample_images
from lt_det.losses.ib import influence as ib_influence
from lt_det.statistics.buckets import FrequencyBuckets
from tests.helpers.diagnosed import BUCKETS, COUNTS, D, K, roi_table, trained

SETTINGS = Settings(BUCKETS, COUNTS, images_per_iteration=2)


def batch_of(name, kind="auto", table=None):
    table = table or roi_table()
    classifier, loss = trained(name, kind)
    return LastLayer(classifier, loss).batch(table.features, table.labels, table.images, table.weights)


def foreground_of(table):
    return table.labels < K


def test_influence_of_softmax_is_that_of_the_paper():
    batch = batch_of("softmax")
    p = batch.logits.softmax(dim=1)
    expected = (p - torch.eye(K + 1)[batch.labels]).abs().sum(dim=1) * batch.features.abs().sum(dim=1)
    torch.testing.assert_close(influence(batch), expected, rtol=1e-9, atol=1e-12)
    cross_entropy = torch.nn.functional.cross_entropy(batch.logits, batch.labels, reduction="none")
    torch.testing.assert_close(influence(batch), ib_influence(cross_entropy, batch.features), rtol=1e-9, atol=1e-12)


def test_influence_of_sigmoid_has_the_sigmoid_in_the_place_of_the_softmax():
    batch = batch_of("sigmoid")
    p = batch.logits[:, :K].sigmoid()
    expected = (p - torch.eye(K + 1)[batch.labels][:, :K]).abs().sum(dim=1) * batch.features.abs().sum(dim=1)
    torch.testing.assert_close(influence(batch), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("name", "scale"), [("softmax", 1.0), ("ldam", 30.0), ("seql", 1.0)])
def test_margin_of_a_softmax_is_the_difference_of_the_logits(name, scale):
    batch = batch_of(name)
    expected = []
    for row in batch.foreground:
        z, y = batch.logits[row], int(batch.labels[row])
        expected.append(scale * float(z[y] - max(z[j] for j in range(K + 1) if j != y)))
    np.testing.assert_allclose(batch.margins, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", ["sigmoid", "eqlv2", "seesaw"])
def test_margin_is_positive_where_the_right_class_scores_highest(name):
    batch = batch_of(name)
    scores = batch.layer.loss.scores(batch.logits)[batch.foreground]
    assert torch.equal(batch.margins > 0, scores.argmax(dim=1) == batch.labels[batch.foreground])
    assert batch.margins.isfinite().all()


def test_margins_by_class():
    table = roi_table()
    batch = batch_of("softmax", table=table)
    labels, margins = table.labels[foreground_of(table)], batch.margins.numpy() + 4  # some medians are positive
    found = margins_by_class(labels, margins, COUNTS, batch.layer.loss)
    for k in range(K - 1):
        own = margins[labels == k]
        assert found.minimum[k] == own.min()
        assert found.median[k] == pytest.approx(np.median(own))
        assert found.lower_quartile[k] == pytest.approx(np.quantile(own, 0.25))
        assert found.upper_quartile[k] == pytest.approx(np.quantile(own, 0.75))
        assert found.negative[k] == pytest.approx((own < 0).mean())
    assert found.median[K - 1] is None
    assert found.smallest_class == labels[margins.argmin()]
    targets = found.constant / COUNTS[: K - 1] ** 0.25
    assert targets.sum() == pytest.approx(sum(max(0, median) for median in found.median[: K - 1]))
    assert not found.is_ldam


def test_the_target_of_ldam_is_its_own():
    _, loss = trained("ldam")
    found = margins_by_class(np.array([0]), np.array([1.0]), COUNTS, loss)
    assert found.is_ldam
    np.testing.assert_allclose(found.constant / COUNTS**0.25, 30 * loss.margins[:K], rtol=1e-6)


@pytest.mark.parametrize("kind", ["linear", "scaled", "cosine"])
def test_deviation_by_class(kind):
    training, test = roi_table(), roi_table(seed=1)
    classifier, loss = trained("softmax", kind)
    layer = LastLayer(classifier, loss)
    sums = []
    for table in (training, test):
        sums.append(ClassSums(layer))
        for batch in each_batch(Rois.of_table(table, foreground_of(table)), layer):
            sums[-1].add(batch)
    found = feature_deviation(*sums)
    for k in range(K - 1):
        means, spreads, variances, sizes = [], [], [], []
        for index, table in enumerate((training, test)):
            own = table.labels == k
            h, images = table.features[own], table.images[own]
            logits = classifier(torch.tensor(h)).detach().numpy()
            value = (logits - classifier.bias.detach().numpy())[:, k].mean()
            accuracy = (logits[:, :K].argmax(axis=1) == k).mean()
            side = ("training", "test")[index]
            assert getattr(found, f"{side}_rois")[k] == own.sum()
            assert getattr(found, f"{side}_value")[k] == pytest.approx(value, rel=1e-6)
            assert getattr(found, f"{side}_accuracy")[k] == pytest.approx(accuracy)
            means.append(h.mean(axis=0))
            spreads.append(((h - means[-1]) ** 2).sum())
            clusters = [(h[images == image] - means[-1]).sum(axis=0) for image in np.unique(images)]
            m = len(clusters)
            variances.append(m / (m - 1) * sum((c**2).sum() for c in clusters) / len(h) ** 2 if m > 1 else math.nan)
            sizes.append(len(h))
        s = math.sqrt(sum(spreads) / (sum(sizes) - 2))
        assert found.deviation[k] == pytest.approx(np.linalg.norm(means[0] - means[1]) / s, rel=1e-6)
        chance = math.sqrt(sum(variances)) / s
        assert (
            found.by_chance[k] is None if math.isnan(chance) else found.by_chance[k] == pytest.approx(chance, rel=1e-6)
        )
    assert found.deviation[K - 1] is None
    assert found.training_rois[K - 1] == 0


def test_without_a_deviation_the_deviation_is_the_one_by_chance():
    """Two halves of the same distribution: on average deviation^2 = by_chance^2, whatever the number of images."""
    ratios = []
    for seed in range(30):
        generator = np.random.default_rng(seed)
        sums = []
        classifier, loss = trained("softmax", "linear")
        layer = LastLayer(classifier, loss)
        for images in (12, 5):
            # Four RoIs in an image, which differ less than those of two images.
            h = np.repeat(generator.normal(size=(images, D)), 4, axis=0) + 0.3 * generator.normal(size=(4 * images, D))
            sums.append(ClassSums(layer))
            sums[-1].add(layer.batch(h, np.zeros(len(h), dtype=np.int64), np.repeat(np.arange(images), 4)))
        found = feature_deviation(*sums)
        ratios.append((found.deviation[0] / found.by_chance[0]) ** 2)
    assert np.mean(ratios) == pytest.approx(1, abs=0.2)


def test_confusion_names_who_takes_whose_place():
    """The identity as classifier: features are the logits."""
    wrong = {0: [(0, 9), (1, 1)], 4: [(0, 6), (5, 2), (4, 2)], 2: [(3, 5), (2, 5)], 5: [(5, 4)]}
    labels = np.concatenate([[true] * n for true, row in wrong.items() for _, n in row]).astype(np.int64)
    predicted = np.concatenate([[to] * n for row in wrong.values() for to, n in row])
    features = np.eye(K + 1)[predicted] * 3.0
    features[0, K] = 9  # classified as background, although class 0 scores highest of the classes
    classifier, loss = trained("softmax", "linear")
    classifier = torch.nn.Linear(K + 1, K + 1).double()
    with torch.no_grad():
        classifier.weight.copy_(torch.eye(K + 1))
        classifier.bias.zero_()
    counts = ConfusionCounts(LastLayer(classifier, loss))
    counts.add(counts.layer.batch(features, labels, np.arange(len(labels)) // 2))
    found = counts.result(BUCKETS)

    rare = found.groups["rare"]
    assert rare.classes == 2
    assert rare.correct == pytest.approx((2 / 10 + 1) / 2)
    assert rare.taken_by == pytest.approx({"rare": 2 / 10 / 2, "common": 0, "frequent": 6 / 10 / 2})
    assert found.groups["frequent"].background == pytest.approx(1 / 10)
    first = found.pairs[0]
    assert (first.true, first.predicted, first.rois, first.images) == (4, 0, 6, 3)
    assert (first.fraction, first.reverse) == (0.6, 0)
    pairs = {(pair.true, pair.predicted) for pair in found.pairs}
    assert pairs == {(4, 0)}  # the other confusions are within a bucket


@pytest.mark.parametrize("name", ["softmax", "sigmoid", "seesaw", "eqlv2", "ldam"])
def test_a_stage_as_a_whole(name):
    table, test = roi_table(), roi_table(seed=1)
    classifier, loss = trained(name)
    stage = diagnose_stage(table, classifier, loss, SETTINGS, Rois.of_table(test, foreground_of(test)))
    batch = batch_of(name, table=table)
    own, weights = foreground_of(table), torch.tensor(table.weights)
    values = influence(batch) * weights
    groups = stage.influence.groups
    assert stage.training_rois == len(table.labels)
    assert stage.foreground_rois == groups["all"].rois == own.sum()
    assert groups["all"].fraction == pytest.approx(float(values[own].sum() / values.sum()))
    assert groups["all"].fraction + stage.influence.background_fraction == pytest.approx(1)
    for bucket, group in enumerate(BUCKETS.names):
        mask = own & (BUCKETS.assignment[np.minimum(table.labels, K - 1)] == bucket)
        assert groups[group].fraction == pytest.approx(float(values[mask].sum() / values.sum()))
        expected = np.quantile(influence(batch)[mask].numpy(), (0.25, 0.5, 0.75))
        assert groups[group].quartiles == pytest.approx(expected.tolist())
    assert len(stage.influence.classes) == own.sum()  # so few that every RoI is a point
    assert sorted(stage.influence.margins) == pytest.approx(sorted(batch.margins.tolist()))
    # Ground-truth boxes, whose IoU is 1, are left out where training and test are compared.
    proposals = own & (table.ious < 1)
    assert stage.deviation.training_rois == np.bincount(table.labels[proposals], minlength=K).tolist()
    assert stage.deviation.test_rois == np.bincount(test.labels[foreground_of(test)], minlength=K).tolist()
    assert stage.weight_norms.has_effect == (type(classifier).__name__ != "CosineClassifier")
    expected = np.corrcoef(classifier.weight[:K].norm(dim=1).detach(), np.log(COUNTS))[0, 1]
    assert stage.weight_norms.correlation == pytest.approx(expected)


def test_a_table_in_float16_on_disk(tmp_path):
    """As a feature cache is read: memory-mapped, in another type than the classifier."""
    table = roi_table(dtype=np.float16)
    np.save(tmp_path / "features.npy", table.features)
    mapped = dataclasses.replace(table, features=np.load(tmp_path / "features.npy", mmap_mode="r"))
    classifier, loss = trained("softmax", "linear")
    found = diagnose_stage(mapped, classifier.float(), loss, SETTINGS)
    exact = diagnose_stage(
        dataclasses.replace(table, features=table.features.astype(float)), *trained("softmax"), SETTINGS
    )
    assert found.deviation is None
    for name in ("positive_norm", "negative_norm", "positive_mean", "ratio"):
        expected = [value for value in getattr(exact.gradients, name) if value is not None]
        assert [value for value in getattr(found.gradients, name) if value is not None] == pytest.approx(
            expected, rel=1e-4
        )


def test_a_table_without_foreground():
    table = roi_table()
    background = dataclasses.replace(table, labels=np.full_like(table.labels, K))
    stage = diagnose_stage(background, *trained("softmax"), SETTINGS)
    assert stage.foreground_rois == 0
    assert stage.margins.smallest_class is None
    assert stage.gradients.positive_norm == [None] * K
    assert stage.influence.background_fraction == pytest.approx(1)
    assert stage.influence.groups == dict.fromkeys(("all", *BUCKETS.names))


@pytest.mark.parametrize("beta_index", range(4))
def test_effective_numbers(beta_index):
    found = effective_numbers(COUNTS)[beta_index]
    expected = [(1 - found.beta**n) / (1 - found.beta) for n in COUNTS.tolist()]
    assert found.numbers == pytest.approx(expected, rel=1e-9)
    inverse = 1 / np.array(expected)
    assert found.weights == pytest.approx((inverse * K / inverse.sum()).tolist(), rel=1e-9)


def test_a_layer_that_is_no_classifier_is_refused():
    _, loss = trained("softmax")
    with pytest.raises(Exception, match=r"Identity.*MODEL\.LONG_TAIL\.CLASSIFIER"):
        LastLayer(torch.nn.Identity(), loss)


def test_quantiles_of_weighted_values():
    """A weight of n is the value n times, but for the interpolation between neighbors."""
    generator = np.random.default_rng(0)
    values, weights = generator.normal(size=2000), generator.integers(1, 6, 2000).astype(float)
    repeated = np.repeat(values, weights.astype(int))
    at = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
    np.testing.assert_allclose(quantiles(values, weights, at), np.quantile(repeated, at), atol=0.01)
    assert quantiles(values, np.full(2000, 2.5), at) == np.quantile(values, at).tolist()
    assert quantiles(values[:1], weights[:1], at) == [values[0]] * len(at)
    np.testing.assert_allclose(quantiles(np.array([3.0, 1.0]), np.array([9.0, 1.0]), (0, 0.5, 1)), [1, 2, 3])


def population():
    """RoIs of 400 images: the frequent class 0 is in all, and easy where the rare class 1 is, in every tenth image."""
    generator = np.random.default_rng(1)
    has_rare = np.arange(400) % 10 == 0
    labels, images = np.array([0, 1]).repeat([400, 40]), np.r_[np.arange(400), np.flatnonzero(has_rare)]
    margins = np.where(labels == 1, -2.0, np.where(has_rare[images], 3.0, 0.0)) + generator.normal(size=440) / 4
    return labels, images, margins, np.exp(-margins)


def test_a_sample_of_images_has_the_numbers_of_all():
    labels, images, margins, values = population()
    chosen, image_weights = sample_images(images, labels, 400, 120, seed=0)
    rows = np.flatnonzero(np.isin(images, chosen))
    weights = image_weights[np.searchsorted(chosen, images[rows])]
    buckets = FrequencyBuckets(("rare", "frequent"), np.array([1, 0]))

    def measured(rows, weights):
        foreground = Foreground(labels[rows], margins[rows], values[rows], weights, 0.0)
        by_class = margins_by_class(
            labels[rows], margins[rows], np.array([400, 40]), trained("softmax")[1], foreground.stands_for
        )
        group = influence_by_margin(foreground, buckets, seed=0)
        return np.array([by_class.upper_quartile[0], by_class.negative[0], group.groups["all"].quartiles[0]])

    everything = measured(np.arange(440), np.ones(440))
    assert (abs(measured(rows, weights) - everything) < 0.07).all()
    once = measured(rows, np.ones(len(rows)))
    assert (abs(once - everything) > 0.14).all()
