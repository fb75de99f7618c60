"""What a loss says before a training whose class counts leave it nothing to balance."""

import re

import numpy as np
import pytest
import torch

from lt_det.losses import ClassReweighting, build_loss
from lt_det.statistics.class_stats import ClassStats

TAILED = ([3, 40, 900, 2000], [4, 80, 1800, 9000])
FREQUENT = ([120, 450, 3000], [240, 900, 6000])


def stats_of(images, instances=None, num_images=4000):
    instances = None if instances is None else np.array(instances)
    return ClassStats(tuple(f"c{k}" for k in range(len(images))), np.array(images), instances, num_images, "test")


def threshold_in(remark):
    return float(re.search(r"FREQUENCY_THRESHOLD to ([\d.]+)", remark)[1])


@pytest.mark.parametrize("name", ["eql", "seql"])
def test_no_class_is_tail(name):
    stats = stats_of(*FREQUENT)
    remark = build_loss(name, stats).remark(stats)
    assert "0.0251" in remark  # 100.5 of 4000 images
    assert "rarest, c0" in remark
    assert "0.03 (120 images)" in remark
    advised = build_loss(name, stats, frequency_threshold=threshold_in(remark))
    assert advised.is_tail[:3].tolist() == [True, True, False]
    assert "2 of 3 classes" in remark
    assert advised.remark(stats) == ""


@pytest.mark.parametrize("name", ["eql", "seql"])
def test_every_class_is_tail(name):
    stats = stats_of(*FREQUENT)
    remark = build_loss(name, stats, frequency_threshold=0.9).remark(stats)
    assert "every class" in remark
    assert "most frequent, c2, is in 0.75 (3000 images)" in remark
    assert build_loss(name, stats, frequency_threshold=threshold_in(remark)).remark(stats) == ""


def test_a_class_without_images_is_no_tail():
    stats = stats_of([0, 120, 450, 3000], [0, 240, 900, 6000])
    remark = build_loss("eql", stats).remark(stats)
    assert "rarest, c1" in remark
    assert "2 of 3 classes" in remark


def test_no_threshold_divides_equal_counts():
    stats = stats_of([500, 500], [600, 900])
    remark = build_loss("eql", stats).remark(stats)
    assert "FREQUENCY_THRESHOLD to" not in remark


def test_threshold_of_zero_is_meant():
    stats = stats_of(*FREQUENT)
    assert build_loss("eql", stats, frequency_threshold=0.0).remark(stats) == ""


@pytest.mark.parametrize("name", ["cdt", "class_balanced", "ib", "ldam", "logit_adjustment"])
def test_equal_counts(name):
    stats = stats_of([500, 400, 300], [600, 600, 600])
    assert "600" in build_loss(name, stats).remark(stats)
    one = stats_of([500], [600])
    assert "one class" in build_loss(name, one).remark(one)


def test_label_smoothing_needs_counts_for_one_prior_only():
    stats = stats_of([500, 400], [600, 600])
    assert build_loss("label_smoothing", stats).remark(stats) == ""
    assert "600" in build_loss("label_smoothing", stats, prior="frequency").remark(stats)


def test_federated_loss_that_samples_all_classes():
    stats = stats_of(*FREQUENT)
    loss = build_loss("federated", stats)
    assert "NUM_SAMPLED is 50" in loss.remark(stats)
    assert build_loss("federated", stats, num_sampled=3).remark(stats) == ""  # background takes one of the places


@pytest.mark.parametrize("name", ["eql", "seql", "federated", "ldam", "softmax", "seesaw", "label_smoothing"])
def test_a_long_tail_needs_no_remark(name):
    stats = stats_of(*TAILED)
    options = {"num_sampled": 2} if name == "federated" else {}
    assert build_loss(name, stats, **options).remark(stats) == ""


def test_equal_weights():
    stats = stats_of(*TAILED)
    loss = build_loss("softmax", stats)
    assert "same weight, 2," in ClassReweighting(loss, torch.full((4,), 2.0)).remark(stats)
    assert ClassReweighting(loss, [4.0, 2.0, 1.0, 1.0]).remark(stats) == ""
    equal = stats_of([500, 400], [600, 600])
    remark = ClassReweighting(build_loss("ldam", equal), [1.0, 1.0]).remark(equal)
    assert "600" in remark
    assert "REWEIGHTING" in remark
