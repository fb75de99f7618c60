"""Losses for a plain classifier: K columns, no background."""

import pytest
import torch
import torch.nn.functional as F

from lt_det.losses import LOSSES, ClassReweighting, loss_class

COUNTS = [400, 60, 8, 2]
K = len(COUNTS)
FEATURES = torch.rand(30, 3, generator=torch.Generator().manual_seed(1))
every_loss = pytest.mark.parametrize("name", sorted(LOSSES))


def build(name, **options):
    given = {"instance_counts": COUNTS, "image_counts": COUNTS, "num_images": 400}
    given = {key: given[key] for key in loss_class(name).statistics}
    loss = loss_class(name)(K, background=False, **given, **options)
    loss.progress = 0.0
    return loss


def batch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(30, K, generator=generator).requires_grad_(), torch.randint(0, K, (30,), generator=generator)


@every_loss
def test_has_one_column_per_class(name):
    loss = build(name)
    logits, labels = batch()
    assert loss.num_logits == K
    assert loss.scores(logits).shape == (30, K)
    assert loss.predicted_classes(logits).max() < K
    bias = loss.initial_bias()
    assert bias is None or bias.shape == (K,)
    loss(logits, labels, FEATURES).backward()
    assert (logits.grad.abs().sum(dim=0) > 0).all()


@every_loss
def test_minimum_is_at_the_labels(name):
    loss = build(name)
    logits, labels = batch()
    optimizer = torch.optim.SGD([logits], lr=20.0)
    for _ in range(300):
        optimizer.zero_grad()
        loss(logits, labels, FEATURES).backward()
        optimizer.step()
    assert torch.equal(loss.predicted_classes(logits), labels)


@pytest.mark.parametrize("name", ["softmax", "sigmoid", "cdt", "class_balanced", "ldam", "logit_adjustment", "eql"])
def test_equals_the_detector_form_with_an_absent_background(name):
    logits, labels = batch()
    given = {"instance_counts": COUNTS, "image_counts": COUNTS, "num_images": 400}
    detector = loss_class(name)(K, **{key: given[key] for key in loss_class(name).statistics})
    absent = torch.full((30, 1), -1e4)
    expected = detector(torch.cat([logits, absent], dim=1), labels)
    torch.testing.assert_close(build(name)(logits, labels), expected)


def test_seesaw_without_objectness():
    logits, labels = batch()
    torch.testing.assert_close(build("seesaw", p=0.0, q=0.0)(logits, labels), F.cross_entropy(logits, labels))


def test_re_weighting():
    logits, labels = batch()
    loss = ClassReweighting(build("softmax"), [1.0, 2.0, 3.0, 4.0])
    expected = F.cross_entropy(logits, labels, weight=torch.tensor([1.0, 2.0, 3.0, 4.0]), reduction="sum") / 30
    torch.testing.assert_close(loss(logits, labels), expected)


def test_background_is_no_config_key():
    for name in sorted(LOSSES):
        assert "background" not in loss_class(name).hyperparameters()
