"""Meta-learning candidates on a table of RoIs."""

import copy
import dataclasses
import re

import numpy as np
import pytest
import torch
from torch import nn

from lt_det.bakeoff.cache.tables import RoiTable
from lt_det.bakeoff.candidates.builtin import full
from lt_det.bakeoff.candidates.candidate import Candidate
from lt_det.bakeoff.candidates.keys import LOSS_NAME
from lt_det.bakeoff.candidates.reading import read_candidates
from lt_det.bakeoff.fitting import FitOptions, fit
from lt_det.bakeoff.fitting.batch import RoiBatches
from lt_det.bakeoff.fitting.meta_fit import MetaStage, fit_meta, fit_meta_learning_rates
from lt_det.bakeoff.fitting.meta_set import split_meta_images
from lt_det.bakeoff.fitting.trainee import Stage
from lt_det.errors import LtDetError
from lt_det.losses import LOSSES, SigmoidCrossEntropyLoss, SoftmaxCrossEntropyLoss
from lt_det.meta.method import MetaMethod
from lt_det.meta.methods import META_METHODS, build_meta_method
from tests.helpers.models import NUM_CLASSES as K
from tests.helpers.models import small_config

D = 8
NUM_IMAGES = 3**K
STEPS = 60
META = [candidate for candidate in full() if candidate.meta]


@pytest.fixture
def cfg(stats_file):
    """The config of a detector of five classes that occur in 1 to 81 of the training images."""
    return small_config(**{"MODEL.LONG_TAIL.CLASS_STATS": stats_file, "SOLVER.WARMUP_ITERS": 0})


@pytest.fixture
def rois():
    """RoIs of `annotations()`: four of each object and two of background per image. The last feature is the image."""
    generator = np.random.default_rng(0)
    pairs = [(image, k) for k in range(K) for image in range(3**k) for _ in range(4)]
    pairs += [(image, K) for image in range(NUM_IMAGES) for _ in range(2)]
    images, labels = np.array(sorted(pairs)).T
    centers = generator.normal(size=(K + 1, D))
    features = (centers[labels] + 0.7 * generator.normal(size=(len(labels), D))).astype(np.float32)
    features[:, -1] = images / NUM_IMAGES
    ones = np.ones(len(labels), dtype=np.float32)
    return RoiTable(features, labels, images, ones, ones, list(range(NUM_IMAGES)), K)


def images_of(features):
    """The images that (B, D) features belong to."""
    return set((features[:, -1] * NUM_IMAGES).round().int().tolist())


@pytest.mark.parametrize("part", [None, np.arange(0, NUM_IMAGES, 2)])
def test_meta_set_has_the_mixture_of_classes_and_no_image_of_the_training(rois, part):
    images, meta = split_meta_images(rois, part, seed=0)
    assert sorted([*images, *meta]) == (list(range(NUM_IMAGES)) if part is None else part.tolist())
    assert len(meta) == pytest.approx((len(images) + len(meta)) / 5, abs=1)
    frequent = rois.labels == K - 1
    for side, fraction in ((images, 0.8), (meta, 0.2)):
        found = np.intersect1d(rois.images[frequent], side)
        total = np.intersect1d(rois.images[frequent], np.arange(NUM_IMAGES) if part is None else part)
        assert len(found) == pytest.approx(fraction * len(total), abs=1)


@pytest.mark.parametrize("candidate", META, ids=lambda candidate: candidate.name)
def test_every_method_trains_a_classifier(cfg, rois, candidate):
    candidate.check(cfg)
    options = FitOptions(seed=0, steps=STEPS, held_out=np.arange(NUM_IMAGES))
    fitted = [fit_meta(cfg, candidate, [rois], None, options, learning_rate=0.2) for _ in range(2)]
    state, again = (one.classifiers[0] for one in fitted)
    assert all(torch.equal(state[name], again[name]) for name in state)
    (_, first_loss, first_measure), (_, loss, measure) = fitted[0].curve[0], fitted[0].curve[-1]
    assert loss < first_loss
    assert measure > max(first_measure, 0.45)


def test_meta_batches_are_balanced_and_from_other_images(cfg, rois, monkeypatch):
    seen = {"training": set(), "meta": set()}
    counts = np.zeros(K + 1)
    step = MetaStage.step

    def recorded(self, batch, rate, progress):
        seen["training"] |= images_of(batch.features)
        meta = copy.deepcopy(self._meta_batches).draw()
        seen["meta"] |= images_of(meta.features)
        counts[:] += np.bincount(meta.labels, minlength=K + 1)
        return step(self, batch, rate, progress)

    monkeypatch.setattr(MetaStage, "step", recorded)
    images, meta = split_meta_images(rois, None, seed=7)
    candidate = META[0]
    fit_meta(cfg, candidate, [rois], None, FitOptions(seed=7, steps=20), learning_rate=0.1)
    assert seen == {"training": set(images.tolist()), "meta": set(meta.tolist())}
    present = counts[:K] > 0
    assert counts[:K][present] == pytest.approx(counts[:K].sum() / present.sum(), rel=0.1)
    held = np.isin(rois.images, meta)
    assert counts[K] / counts.sum() == pytest.approx((rois.labels[held] == K).mean(), rel=0.1)

    seen = {"training": set(), "meta": set()}
    options = FitOptions(seed=7, steps=20)
    fit_meta(cfg, candidate, [rois], images, options, learning_rate=0.1, meta_images=images)
    assert seen["meta"] == seen["training"] == set(images.tolist())


def test_learning_rates_and_stages_of_a_cascade(cfg, rois):
    """Each stage learns its own weights, from its own RoIs; the learning rates see the same batches."""
    other = dataclasses.replace(rois, features=np.ascontiguousarray(rois.features[:, ::-1]))
    held_out = np.arange(0, NUM_IMAGES, 3)
    options = FitOptions(seed=0, steps=20, held_out=held_out)
    fits = fit_meta_learning_rates(cfg, META[0], [rois, other], None, (0.05, 0.2), options)
    assert [one.learning_rate for one in fits] == [0.05, 0.2]
    for one in fits:
        first, second = one.classifiers
        assert not torch.equal(first["weight"], second["weight"].flip(1))
        alone = fit_meta(cfg, META[0], [rois, other], None, options, learning_rate=one.learning_rate)
        torch.testing.assert_close(alone.classifiers, one.classifiers)
    best = fit_meta(cfg, META[0], [rois, other], None, options)
    assert best.learning_rate == max(fits, key=lambda one: one.measure).learning_rate


class Unweighted(MetaMethod):
    """Learns nothing."""

    def logit_gradients(self, rows, bilevel):
        return rows.gradients / rows.divisor


@pytest.mark.parametrize("loss", ["softmax", "ldam", "class_balanced"])
def test_step_of_the_classifier_is_that_of_other_candidates(cfg, rois, loss, monkeypatch):
    monkeypatch.setitem(META_METHODS, "unweighted", lambda loss: Unweighted())
    own = Candidate("", {LOSS_NAME: loss}).config(cfg)
    batches = [RoiBatches(rois, np.ones(len(rois.labels)), batch_size=32, seed=seed) for seed in (1, 2)]
    torch.manual_seed(0)
    plain = Stage(own, 0, D, "cpu")
    torch.manual_seed(0)
    meta = MetaStage(own, 0, D, "cpu", method="unweighted", meta_batches=batches[1])
    for _ in range(5):
        batch = batches[0].draw()
        torch.testing.assert_close(meta.step(batch, 0.1, 0.0), plain.step(batch, 0.1, 0.0))
    torch.testing.assert_close(meta.classifier_state(), plain.classifier_state())


def test_inner_step_of_balms_has_the_momentum_of_the_classifier(cfg, rois, monkeypatch):
    found = []

    class Recorder(Unweighted):
        uses_momentum = True

        def logit_gradients(self, rows, bilevel):
            found.append((bilevel.step, {name: buffer.clone() for name, buffer in bilevel.buffers.items()}))
            return super().logit_gradients(rows, bilevel)

    monkeypatch.setitem(META_METHODS, "recorder", lambda loss: Recorder())
    candidate = Candidate("", {LOSS_NAME: "softmax"}, meta="recorder")
    fit_meta(cfg, candidate, [rois], None, FitOptions(seed=0, steps=3), learning_rate=0.1)
    assert found[0][0].momentum == cfg.SOLVER.MOMENTUM
    assert found[0][0].weight_decay == cfg.SOLVER.WEIGHT_DECAY
    assert {name: buffer.shape for name, buffer in found[0][1].items()} == {"weight": (K + 1, D), "bias": (K + 1,)}
    assert not found[0][1]["weight"].any()
    assert found[1][1]["weight"].any()


@pytest.mark.parametrize(
    ("meta", "logged"), [("learned_tau", r"tau: \d(\.\d+)?$"), ("balms", r"weight: 0\.\d+ to 0\.\d+")]
)
def test_what_was_learned_is_logged(cfg, rois, caplog, meta, logged):
    candidate = Candidate("", {LOSS_NAME: "logit_adjustment"}, meta=meta)
    with caplog.at_level("INFO", "lt_det"):
        fit_meta(cfg, candidate, [rois], None, FitOptions(seed=0, steps=5), learning_rate=0.1)
    assert re.search(logged, caplog.messages[-1])


def test_mistakes(cfg, rois, monkeypatch):
    with pytest.raises(LtDetError, match=r"metaweightnet.*meta_weight_net"):
        build_meta_method("metaweightnet", SoftmaxCrossEntropyLoss(K))
    with pytest.raises(LtDetError, match=r"tau.*logit_adjustment.*LOSS\.NAME is softmax"):
        Candidate("", {LOSS_NAME: "softmax"}, meta="learned_tau").check(cfg)
    with pytest.raises(LtDetError, match=r"meta.* not trained"):
        Candidate("", meta="l2rw", kind="as_is").check(cfg)
    with pytest.raises(ValueError, match="fit_meta"):
        fit(cfg, META[0], [rois], None, FitOptions(seed=0, steps=3), learning_rate=0.1)
    with pytest.raises(ValueError, match="held_out"):
        fit_meta(cfg, META[0], [rois], None, FitOptions(seed=0, steps=3))

    class Temperature(SigmoidCrossEntropyLoss):
        def __init__(self, num_classes, *, background=True):
            super().__init__(num_classes, background=background)
            self.temperature = nn.Parameter(torch.ones(()))

    monkeypatch.setitem(LOSSES, "temperature", Temperature)
    cfg.MODEL.LONG_TAIL.LOSS.TEMPERATURE = type(cfg)()
    candidate = Candidate("", {LOSS_NAME: "temperature"})
    with pytest.raises(LtDetError, match="temperature has parameters"):
        fit_meta(cfg, candidate, [rois], None, FitOptions(seed=0, steps=3), learning_rate=0.1)


def test_candidates_of_a_file(cfg, tmp_path):
    file = tmp_path / "candidates.yaml"
    file.write_text(
        "candidates: [{loss: softmax, meta: balms}, {meta: l2rw, sampler: class_aware}, {meta: learned_ta}]"
    )
    with pytest.raises(LtDetError, match=r"entry 3.*'learned_ta'.*; did you mean 'learned_tau'"):
        read_candidates(file, cfg)
    file.write_text(file.read_text().replace("{meta: learned_ta}", "{meta: learned_tau, loss: logit_adjustment}"))
    found = read_candidates(file, cfg)[2:]
    assert [(one.name, one.meta, one.kind) for one in found] == [
        ("softmax, balms", "balms", "meta"),
        ("own loss, class-aware sampling, l2rw", "l2rw", "meta"),
        ("logit_adjustment, learned-tau", "learned_tau", "meta"),
    ]


def test_full_list_has_every_method_once():
    assert sorted(candidate.meta for candidate in META) == sorted(META_METHODS)
    assert {candidate.kind for candidate in META} == {"meta"}
