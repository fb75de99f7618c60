import dataclasses
import sys

import numpy as np
import pytest

from lt_det.bakeoff.candidates import Candidate
from lt_det.bakeoff.candidates.oversampling import METHODS, synthetic_features
from lt_det.bakeoff.fitting import FitOptions, fit
from lt_det.errors import LtDetError
from tests.helpers.rois import bakeoff_config, synthetic_rois

SMOTE = Candidate("smote", {"MODEL.LONG_TAIL.LOSS.NAME": "softmax"}, oversampling="smote")


@pytest.fixture(scope="module")
def rois():
    return synthetic_rois(counts=(400, 200, 60, 4, 1, 0))


def made(rois, method, seed=0, rows=None):
    rows = np.arange(len(rois.labels)) if rows is None else rows
    return synthetic_features(rois, rows, method, np.random.default_rng(seed))


def test_smote_interpolates_rare_classes(rois):
    pytest.importorskip("imblearn")
    features, classes = made(rois, "smote")
    # The mean of the classes that have RoIs is 133; the class with one row has no neighbor to interpolate with.
    assert np.bincount(classes, minlength=6).tolist() == [0, 0, 73, 129, 0, 0]
    for k in (2, 3):
        own = rois.features[rois.labels == k].astype(np.float32)
        assert (features[classes == k] >= own.min(axis=0) - 1e-3).all()
        assert (features[classes == k] <= own.max(axis=0) + 1e-3).all()
    assert np.array_equal(made(rois, "smote")[0], features)
    assert not np.array_equal(made(rois, "smote", seed=1)[0], features)


@pytest.mark.parametrize("method", METHODS)
def test_methods_make_rows_of_rare_classes(method, rois):
    pytest.importorskip("imblearn")
    near = synthetic_rois(counts=(200, 100, 20, 10), spread=1.5)  # so close that classes are in danger
    features, classes = made(near, method)
    assert set(classes.tolist()) <= {2, 3}
    assert len(features) == len(classes) > 0
    assert features.dtype == np.float32


def test_only_given_rows_are_used(rois):
    pytest.importorskip("imblearn")
    rows = np.flatnonzero(rois.images < 60)
    features = rois.features.copy()
    features[rois.images >= 60] = np.nan
    found, _ = made(dataclasses.replace(rois, features=features), "smote", rows=rows)
    assert np.isfinite(found).all()


def test_training_with_synthetic_features(rois, tmp_path):
    pytest.importorskip("imblearn")
    cfg = bakeoff_config(rois, tmp_path)
    fitted = fit(cfg, SMOTE, [rois], None, FitOptions(seed=0, steps=30, batch_size=64), learning_rate=0.1)
    assert fitted.classifiers[0]["weight"].isfinite().all()


class NotInstalled:
    """Finds imbalanced-learn nowhere."""

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "imblearn":
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)


def test_without_imbalanced_learn(rois, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "imblearn"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [NotInstalled(), *sys.meta_path])
    with pytest.raises(LtDetError, match=r"lt-det\[bakeoff\]"):
        made(rois, "smote")


def test_unknown_method(rois):
    with pytest.raises(LtDetError, match=r"'mote'.*smote"):
        made(rois, "mote")
