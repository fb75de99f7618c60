"""Training on synthetic RoIs: every kind of loss, learning rates together, stages, phases, seeds."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from lt_det.bakeoff.candidates import Candidate
from lt_det.bakeoff.fitting import FitOptions, Fitted, best_learning_rate, fit, fit_learning_rates
from lt_det.errors import LtDetError
from lt_det.layers import build_classifier
from lt_det.losses import LOSSES, SoftmaxCrossEntropyLoss, register_loss
from lt_det.modeling.loss_builder import loss_of_config
from tests.helpers import assert_same
from tests.helpers.rois import bakeoff_config, synthetic_rois

NAME = "MODEL.LONG_TAIL.LOSS.NAME"
SOFTMAX = Candidate("softmax", {NAME: "softmax"})


@pytest.fixture(scope="module")
def rois():
    return synthetic_rois()


@pytest.fixture(scope="module")
def cfg(rois, tmp_path_factory):
    return bakeoff_config(rois, tmp_path_factory.mktemp("bakeoff"))


def short(cfg, candidate, tables, images=None, **options):
    rate = options.pop("learning_rate", 0.1)
    given = FitOptions(**{"seed": 0, "steps": 60, "batch_size": 64} | options)
    return fit(cfg, candidate, tables, images, given, learning_rate=rate)


def modules(cfg, candidate, fitted, stage=0, width=16):
    """The classifier and the loss that the candidate's config builds, with the trained states."""
    own = candidate.config(cfg)
    loss = loss_of_config(own)
    node = own.MODEL.LONG_TAIL
    classifier = build_classifier(width, loss, node.CLASSIFIER, node.COSINE_SCALE)
    classifier.load_state_dict(fitted.classifiers[stage])
    loss.load_state_dict(fitted.losses[stage])
    return classifier.eval(), loss.eval()


def accuracy(cfg, candidate, fitted, rois):
    """Fraction of the foreground RoIs whose class has the highest score of the classes."""
    classifier, loss = modules(cfg, candidate, fitted)
    rows = rois.labels < rois.num_classes
    with torch.no_grad():
        scores = loss.scores(classifier(torch.from_numpy(rois.features[rows].astype(np.float32))))
    assert scores.shape == (rows.sum(), rois.num_classes + 1)
    return float((scores[:, :-1].argmax(dim=1).numpy() == rois.labels[rows]).mean())


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_every_loss_learns(name, cfg, rois):
    candidate = Candidate(name, {NAME: name})
    fitted = short(cfg, candidate, [rois], steps=200, learning_rate=0.5, held_out=np.arange(120))
    assert accuracy(cfg, candidate, fitted, rois) > 0.85  # the most frequent class has 0.58
    assert fitted.measure > 0.5  # random scores have 0.03
    step, loss, _ = fitted.curve[-1]
    assert step == fitted.steps
    assert loss < fitted.curve[0][1]


@pytest.mark.parametrize("kind", ["linear", "cosine"])
@pytest.mark.parametrize("name", ["softmax", "seesaw", "eqlv2"])
def test_both_classifiers(name, kind, cfg, rois):
    candidate = Candidate(name, {NAME: name, "MODEL.LONG_TAIL.CLASSIFIER": kind})
    assert accuracy(cfg, candidate, short(cfg, candidate, [rois], steps=150, learning_rate=0.5), rois) > 0.85


def test_the_state_of_a_loss_is_kept(cfg, rois):
    candidate = Candidate("seesaw", {NAME: "seesaw"})
    fitted = short(cfg, candidate, [rois])
    foreground = (rois.weights * (rois.labels < 5)).sum() / rois.weights.sum()
    assert int(fitted.losses[0]["seen"].sum()) == pytest.approx(60 * 64 * foreground, rel=0.15)
    ib = short(cfg, Candidate("ib", {NAME: "ib"}), [rois])
    assert (ib.losses[0]["phase1_means"] > 0).all()


def test_the_seed_decides(cfg, rois):
    one, same, other = (short(cfg, SOFTMAX, [rois], seed=seed) for seed in (0, 0, 1))
    assert_same(same.classifiers, one.classifiers)
    assert not torch.equal(other.classifiers[0]["weight"], one.classifiers[0]["weight"])


def test_global_random_numbers_are_left_alone(cfg, rois):
    before = torch.get_rng_state()
    short(cfg, Candidate("federated", {NAME: "federated"}), [rois], steps=3)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", ["softmax", "seesaw"])
def test_learning_rates_together_equal_each_alone(name, cfg, rois):
    candidate = Candidate(name, {NAME: name})
    options = FitOptions(seed=0, steps=60, batch_size=64, held_out=np.arange(20))
    together = fit_learning_rates(cfg, candidate, [rois], None, (0.02, 0.5), options)
    assert [one.learning_rate for one in together] == [0.02, 0.5]
    for one in together:
        (alone,) = fit_learning_rates(cfg, candidate, [rois], None, (one.learning_rate,), options)
        assert_same(alone.classifiers, one.classifiers)
        assert alone.curve == one.curve
        assert_same(alone.losses, one.losses)


def test_the_best_learning_rate_is_returned(cfg, rois):
    candidate = dataclasses.replace(SOFTMAX, learning_rates=(1e-6, 0.3))
    held_out = np.arange(0, 120, 3)
    options = FitOptions(seed=0, steps=60, batch_size=64, held_out=held_out)
    fitted = fit(cfg, candidate, [rois], np.arange(1, 120, 3), options)
    assert fitted.learning_rate == 0.3
    with pytest.raises(ValueError, match="held_out"):
        fit(cfg, candidate, [rois], None, FitOptions(seed=0, steps=60))


def with_measure(rate, measure):
    return Fitted([], [], [(1, 0.0, measure)], 1, (1, 0, 0), 0.0, rate)


def test_the_learning_rate_of_several_folds():
    folds = [[with_measure(0.05, 0.3), with_measure(0.2, 0.6)], [with_measure(0.05, 0.5), with_measure(0.2, 0.4)]]
    assert best_learning_rate(folds) == 0.2
    assert best_learning_rate([folds[0], [with_measure(0.05, 0.5)]]) == 0.05  # 0.2 diverged on a fold


def test_rows_of_other_images_are_never_read(cfg, rois):
    """They are not numbers, and would be seen in the weights."""
    features = rois.features.copy()
    features[rois.images < 60] = np.nan
    broken = dataclasses.replace(rois, features=features)
    fitted = short(cfg, SOFTMAX, [broken], np.arange(60, 120))
    assert fitted.classifiers[0]["weight"].isfinite().all()
    assert_same(fitted.classifiers, short(cfg, SOFTMAX, [rois], np.arange(60, 120)).classifiers)


def test_features_in_both_precisions(cfg, rois):
    full = dataclasses.replace(rois, features=rois.features.astype(np.float32))
    assert_same(short(cfg, SOFTMAX, [full]).classifiers, short(cfg, SOFTMAX, [rois]).classifiers)


def test_stages_of_a_cascade(cfg, rois):
    second = synthetic_rois(dimension=8, images=120, seed=1, dtype=np.float32)
    fitted = short(cfg, Candidate("seesaw", {NAME: "seesaw"}), [rois, second], held_out=np.arange(40))
    assert [tuple(state["weight"].shape) for state in fitted.classifiers] == [(7, 16), (7, 8)]
    assert not torch.equal(fitted.losses[0]["seen"], fitted.losses[1]["seen"])
    alone = short(cfg, Candidate("seesaw", {NAME: "seesaw"}), [rois])
    assert_same(alone.classifiers[0], fitted.classifiers[0])


def test_deferred_reweighting_begins_at_the_second_phase(cfg, rois):
    start = "MODEL.LONG_TAIL.REWEIGHTING.START"
    plain = short(cfg, SOFTMAX, [rois], steps=100)
    for when in (0.7, "first_lr_step"):
        deferred = short(cfg, Candidate("deferred", {NAME: "softmax", start: when}), [rois], steps=100)
        losses = [(a[1], b[1]) for a, b in zip(plain.curve, deferred.curve, strict=True)]
        assert [a == b for a, b in losses] == [True] * 14 + [False] * 6


def test_a_plateau_ends_phases_and_they_can_be_repeated(cfg):
    easy = synthetic_rois(spread=0.1)
    options = {"steps": 400, "learning_rate": 0.5}
    with_plateau = short(cfg, SOFTMAX, [easy], held_out=np.arange(120), **options)
    assert with_plateau.steps == sum(with_plateau.phases) < 400
    again = short(cfg, SOFTMAX, [easy], phases=with_plateau.phases, **options)
    assert_same(again.classifiers, with_plateau.classifiers)


def test_the_loss_of_a_user(cfg, rois):
    """It gets features and progress, keeps state, and may learn parameters of its own."""

    class Remembering(SoftmaxCrossEntropyLoss):
        uses_features = True

        def __init__(self, num_classes, *, background=True, slope=1.0):
            super().__init__(num_classes, background=background)
            self.slope = slope
            self.temperature = torch.nn.Parameter(torch.ones(()))
            self.register_buffer("progresses", torch.zeros(0))

        def forward(self, logits, gt_classes, features=None, reduction="mean"):
            assert features.shape == (64, 16)
            self.progresses = torch.cat([self.progresses, torch.tensor([self.progress])])
            return super().forward(logits * self.temperature * self.slope, gt_classes, features, reduction)

    register_loss("remembering")(Remembering)
    try:
        own = bakeoff_config(rois, Path(cfg.OUTPUT_DIR))
        candidate = Candidate("mine", {NAME: "remembering", "MODEL.LONG_TAIL.LOSS.REMEMBERING.SLOPE": 2})
        candidate.check(own)
        state = short(own, candidate, [rois]).losses[0]
    finally:
        LOSSES.pop("remembering")
    torch.testing.assert_close(state["progresses"], torch.arange(60) / 60)
    assert state["temperature"] > 1.05  # it was trained


def test_divergence_is_reported(cfg, rois):
    with pytest.raises(LtDetError, match=r"softmax .* 1e\+30.*learning_rates"):
        short(cfg, SOFTMAX, [rois], learning_rate=1e30)
    fits = fit_learning_rates(cfg, SOFTMAX, [rois], None, (0.1, 1e30), FitOptions(seed=0, steps=60, batch_size=64))
    assert [one.learning_rate for one in fits] == [0.1]


def test_a_loss_without_class_counts(cfg, rois, tmp_path):
    without = cfg.clone()
    without.MODEL.LONG_TAIL.CLASS_STATS = str(tmp_path / "missing.json")
    with pytest.raises(LtDetError, match=r"missing\.json"):
        short(without, Candidate("ldam", {NAME: "ldam"}), [rois])


def test_classes_without_rois(cfg):
    few = synthetic_rois(counts=(100, 50, 0, 0, 3))
    fitted = short(cfg, SOFTMAX, [few], held_out=np.arange(40))
    assert fitted.classifiers[0]["weight"].isfinite().all()


def test_progress_is_reported(cfg, rois):
    seen = []
    short(cfg, SOFTMAX, [rois], track=seen.append)
    assert seen == pytest.approx(np.arange(3, 61, 3) / 60)


def test_nothing_to_train_on(cfg, rois):
    with pytest.raises(LtDetError, match="0 images"):
        short(cfg, SOFTMAX, [rois], np.array([], dtype=np.int64))
