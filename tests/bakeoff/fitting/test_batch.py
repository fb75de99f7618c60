from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from lt_det.bakeoff.fitting.batch import RoiBatches, read_ahead
from tests.helpers.rois import synthetic_rois


def drawn(batches, number):
    return [batches.draw() for _ in range(number)]


def test_rows_are_sampled_by_weight():
    rois = synthetic_rois()
    batches = drawn(RoiBatches(rois, rois.weights.astype(float), batch_size=512, seed=0), 60)
    found = np.bincount(torch.cat([batch.labels for batch in batches]), minlength=6)
    expected = np.bincount(rois.labels, rois.weights, minlength=6)
    expected *= found.sum() / expected.sum()
    assert (np.abs(found - expected) < 4 * np.sqrt(expected)).all()


def test_features_belong_to_the_labels():
    rois = synthetic_rois(spread=0.0)
    for batch in drawn(RoiBatches(rois, rois.weights.astype(float), batch_size=64, seed=0), 3):
        assert batch.features.dtype == torch.float32
        for features, label in zip(batch.features, batch.labels, strict=True):
            expected = rois.features[np.flatnonzero(rois.labels == int(label))[0]]
            np.testing.assert_array_equal(features.numpy(), expected.astype(np.float32))


def test_rows_without_weight_are_never_sampled():
    rois = synthetic_rois()
    weights = np.where(rois.labels == 3, 1.0, 0.0)
    for batch in drawn(RoiBatches(rois, weights, batch_size=64, seed=0), 3):
        assert (batch.labels == 3).all()


def test_the_seed_decides():
    rois = synthetic_rois()
    one, same, other = (drawn(RoiBatches(rois, rois.weights.astype(float), batch_size=8, seed=s), 2) for s in (0, 0, 1))
    assert torch.equal(one[1].features, same[1].features)
    assert not torch.equal(one[1].features, other[1].features)


def test_synthetic_rows_keep_the_fraction_of_background():
    rois = synthetic_rois()
    made = (np.full((500, 16), 7.0, np.float32), np.full(500, 4))
    batches = drawn(RoiBatches(rois, rois.weights.astype(float), batch_size=512, seed=0, synthetic=made), 40)
    labels = torch.cat([batch.labels for batch in batches])
    features = torch.cat([batch.features for batch in batches])
    is_synthetic = (features == 7).all(dim=1)
    assert (labels[is_synthetic] == 4).all()
    background = rois.weights[rois.labels == 5].sum() / rois.weights.sum()
    assert abs((labels == 5).float().mean() - background) < 0.02
    of_foreground = 500 / (500 + (rois.labels < 5).sum())
    assert abs(is_synthetic[labels < 5].float().mean() - of_foreground) < 0.03


def test_memory_mapped_features(tmp_path):
    rois = synthetic_rois()
    np.save(tmp_path / "features.npy", rois.features)
    mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
    read_ahead(mapped)
    weights = rois.weights.astype(float)
    one = RoiBatches(rois, weights, batch_size=64, seed=0).draw()
    two = RoiBatches(replace(rois, features=mapped), weights, batch_size=64, seed=0).draw()
    assert torch.equal(one.features, two.features)
    two.features.add_(1)  # a copy, although the file is read-only


def test_only_the_rows_are_read_of_features_that_do_not_fit_into_memory(tmp_path, monkeypatch):
    np.save(tmp_path / "features.npy", np.zeros((100, 16), dtype=np.float16))
    random_access = "rr"  # flag of a mapping of which the system reads nothing in advance

    def flags():
        mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
        read_ahead(mapped)
        _, _, about = Path("/proc/self/smaps").read_text().partition(str(tmp_path / "features.npy"))
        return about.partition("VmFlags:")[2].splitlines()[0].split()

    assert random_access not in flags()
    monkeypatch.setattr("lt_det.bakeoff.fitting.batch._available_memory", lambda: 0.0)
    assert random_access in flags()
