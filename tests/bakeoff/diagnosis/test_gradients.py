"""Gradient norms of every loss and classifier against autograd, row by row."""

import numpy as np
import pytest
import torch

from lt_det.bakeoff.diagnosis import batches as batches_module
from lt_det.bakeoff.diagnosis.batches import Rois
from lt_det.bakeoff.diagnosis.gradients import GradientNorms
from lt_det.bakeoff.diagnosis.last_layer import LastLayer
from lt_det.losses import LOSSES, ClassificationLoss
from tests.helpers.diagnosed import IMAGES, K, roi_table, trained

CASES = [(name, kind) for name in LOSSES for kind in ("linear", "cosine")] + [
    ("softmax", "scaled"),
    ("eqlv2", "scaled"),
]


def accumulated(table, classifier, loss, images_per_iteration=2):
    """The result, and the rows of each iteration."""
    layer, rois = LastLayer(classifier, loss), Rois.of_table(table)
    iterations, norms = rois.iterations(images_per_iteration, seed=5), GradientNorms(LastLayer(classifier, loss))
    for chunks in iterations:
        norms.add_iteration([rois.read(chunk, layer) for chunk in chunks])
    return norms.result(images_per_iteration), [np.concatenate(chunks) for chunks in iterations]


def autograd_by_row(table, classifier, loss):
    """(N, C, D) dL_i / dW and (N, C) dL_i / dz_i, of each row by itself."""
    weight_gradients, logit_gradients = [], []
    for features, label in zip(table.features, table.labels, strict=True):
        h, y = torch.tensor(features).unsqueeze(0), torch.tensor([label])
        z = classifier(h)
        value = loss(z, y, h, "sum")
        found = torch.autograd.grad(value, [classifier.weight, z])
        weight_gradients.append(found[0])
        logit_gradients.append(found[1][0])
    return torch.stack(weight_gradients), torch.stack(logit_gradients)


def mean(values, weights):
    return None if not len(values) else float((values * weights).sum() / weights.sum())


def assert_close(found, expected):
    assert [value is None for value in found] == [value is None for value in expected]
    known = [(a, b) for a, b in zip(found, expected, strict=True) if b is not None]
    np.testing.assert_allclose(*zip(*known, strict=True), rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize(("name", "kind"), CASES)
@pytest.mark.parametrize("reweighted", [False, True])
def test_both_readings_and_the_ratio_are_those_of_autograd(name, kind, reweighted):
    table = roi_table()
    classifier, loss = trained(name, kind, reweighted)
    found, iterations = accumulated(table, classifier, loss)
    loss.eval().progress = 1.0
    W, z = autograd_by_row(table, classifier, loss)
    labels, weights = torch.tensor(table.labels), torch.tensor(table.weights).double()
    norms = W.norm(dim=2)
    own = [labels == k for k in range(K)]

    assert_close(found.positive_mean, [mean(norms[own[k], k], weights[own[k]]) for k in range(K)])
    assert_close(found.negative_mean, [mean(norms[~own[k], k], weights[~own[k]]) for k in range(K)])

    sums = z.abs() * weights[:, None]
    seen = [bool(rows.any()) for rows in own]
    ratio = [float(sums[own[k], k].sum() / (sums[~own[k], k].sum() + 1e-10)) if seen[k] else None for k in range(K)]
    assert_close(found.ratio, ratio)

    positive, negative = np.zeros(K), np.zeros(K)
    for rows in iterations:
        foreground = labels[rows] < K
        counted = weights[rows] if loss.divisor(labels[rows]) == len(rows) else weights[rows][foreground]
        for k in range(K):
            gradient = W[rows, k] * weights[rows, None]
            positive[k] += gradient[own[k][rows]].sum(dim=0).norm() / counted.sum()
            negative[k] += gradient[~own[k][rows]].sum(dim=0).norm() / counted.sum()
    count = len(iterations)
    assert_close(found.positive_norm, [positive[k] / count if seen[k] else None for k in range(K)])
    assert_close(found.negative_norm, list(negative / count))


def test_every_image_is_in_one_iteration_and_chunks_change_nothing(monkeypatch):
    table = roi_table()
    whole, iterations = accumulated(table, *trained("softmax"))
    assert whole.iterations == round(IMAGES / 2)
    images = [set(table.images[rows].tolist()) for rows in iterations]
    assert sorted(image for part in images for image in part) == list(range(IMAGES))
    assert max(map(len, images)) - min(map(len, images)) <= 1
    monkeypatch.setattr(batches_module, "_MAX_ROWS", 12)  # about one image
    chunks = Rois.of_table(table).iterations(2, seed=5)
    assert max(map(len, chunks)) > 1
    for name, values in vars_of(accumulated(table, *trained("softmax"))[0]).items():
        if isinstance(values, list):
            assert_close(values, vars_of(whole)[name])


def vars_of(struct):
    return {name: getattr(struct, name) for name in struct.__struct_fields__}


def test_the_state_of_a_loss_stays_as_it_was():
    for name in ("seesaw", "eqlv2"):
        classifier, loss = trained(name)
        before = {key: value.clone() for key, value in loss.state_dict().items()}
        accumulated(roi_table(), classifier, loss)
        assert all(torch.equal(value, before[key]) for key, value in loss.state_dict().items())
        assert loss.training
        assert loss.progress is None


class HalfSquared(ClassificationLoss):
    """A user's own loss without the argument `reduction`: half of the mean squared distance to one-hot targets."""

    def forward(self, logits, gt_classes, features=None):
        return ((logits - torch.eye(self.num_logits, dtype=logits.dtype)[gt_classes]) ** 2).sum() / 2 / len(gt_classes)

    def scores(self, logits):
        return logits.softmax(dim=1)


def test_a_loss_without_reduction_has_gradients_by_row():
    classifier, _ = trained("softmax", "linear")
    table = roi_table()
    batch = LastLayer(classifier, HalfSquared(K)).batch(table.features, table.labels, table.images)
    expected = batch.logits - torch.eye(K + 1, dtype=torch.float64)[torch.tensor(table.labels)]
    torch.testing.assert_close(batch.gradient, expected, rtol=1e-9, atol=1e-12)
