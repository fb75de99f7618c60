import numpy as np
import pytest
import torch

from lt_det.bakeoff.fitting.held_out import HeldOut
from tests.helpers.rois import synthetic_rois


def slow_average_precision(scores, labels, weights, num_classes):
    """The definition, class by class and row by row, without ties."""
    found = []
    for k in range(num_classes):
        own = [i for i in range(len(labels)) if labels[i] == k]
        if not own:
            continue
        total = 0.0
        for i in own:
            above = [j for j in range(len(labels)) if scores[j, k] >= scores[i, k]]
            true = sum(weights[j] for j in above if labels[j] == k)
            total += weights[i] * true / sum(weights[j] for j in above)
        found.append(total / sum(weights[i] for i in own))
    return sum(found) / len(found)


def test_it_is_the_mean_average_precision():
    rois = synthetic_rois(counts=(40, 12, 3), images=30)
    held_out = HeldOut(rois, np.arange(20), seed=0)
    rows = np.flatnonzero(rois.images < 20)  # few enough to be all measured
    assert len(held_out.features) == len(rows)
    assert torch.equal(held_out.features, torch.from_numpy(rois.features[rows]).float())
    scores = torch.rand(len(rows), 4, generator=torch.Generator().manual_seed(0))
    expected = slow_average_precision(scores.double().numpy(), rois.labels[rows], rois.weights[rows], 3)
    assert held_out.average_precision(scores) == pytest.approx(expected, abs=1e-5)


def test_perfect_scores_have_1():
    rois = synthetic_rois()
    held_out = HeldOut(rois, np.arange(120), seed=0)
    labels = held_out._labels
    assert held_out.average_precision(torch.nn.functional.one_hot(labels, 6).float()) == pytest.approx(1)


def test_a_sample_stands_for_all_rows():
    rois = synthetic_rois(counts=(6000, 2000, 30), images=300)
    held_out = HeldOut(rois, np.arange(300), seed=0)
    assert len(held_out.features) < len(rois.labels) / 4
    assert (np.bincount(held_out._labels, minlength=4) == [500, 500, 30, 1500]).all()
    totals = torch.zeros(4).index_add_(0, held_out._labels, held_out._weights)
    np.testing.assert_allclose(totals, np.bincount(rois.labels, rois.weights), rtol=1e-5)


def test_without_foreground_it_is_0():
    rois = synthetic_rois()
    empty = np.setdiff1d(np.arange(120), rois.images[rois.labels < 5])
    held_out = HeldOut(rois, empty, seed=0)
    assert held_out.average_precision(torch.rand(len(held_out.features), 6)) == 0


def test_without_rois_it_is_0():
    rois = synthetic_rois()
    held_out = HeldOut(rois, np.empty(0, dtype=np.int64), seed=0)
    assert len(held_out.features) == 0
    assert held_out.average_precision(torch.rand(0, 6)) == 0
