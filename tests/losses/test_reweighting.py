"""Deferred re-weighting as its own piece."""

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg

import lt_det
from lt_det.class_stats import ClassStats
from lt_det.config import reweighting_start
from lt_det.errors import LtDetError
from lt_det.losses import DeferredReweighting, SoftmaxCrossEntropy, build_loss
from lt_det.losses.class_weights import effective_number_weights
from lt_det.modeling import build_loss_for_data

COUNTS = [1, 10, 100, 1000]
LABELS = torch.tensor([0, 1, 2, 3, 4, 4])


def test_weights_begin_at_the_start():
    reweighting = DeferredReweighting(COUNTS, start=0.8, beta=0.99)
    rows = torch.arange(1.0, 7.0)
    loss = SoftmaxCrossEntropy(4)
    loss.reweighting = reweighting
    loss.progress = 0.79
    assert loss.mean_of_rows(rows, LABELS) == rows.mean()
    loss.progress = 0.8
    weighed = reweighting(rows, LABELS)
    assert loss.mean_of_rows(rows, LABELS) == weighed.mean()
    assert torch.equal(weighed[4:], rows[4:])  # background is the average class
    ratio = weighed[:4] / rows[:4]
    assert ratio.mean() == pytest.approx(1, rel=1e-6)
    assert ratio.tolist() == sorted(ratio.tolist(), reverse=True)


@pytest.mark.parametrize("name", ["softmax", "label_smoothing", "seql", "ldam", "cdt", "logit_adjustment"])
def test_goes_with_the_softmax_family(name):
    stats = ClassStats(tuple("abcd"), np.array(COUNTS), np.array(COUNTS), 1000, "test")
    loss = build_loss(name, stats)
    logits = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))

    def value(progress):
        torch.manual_seed(0)
        loss.progress = progress
        return loss(logits, LABELS).item()

    plain = value(1.0)
    loss.reweighting = DeferredReweighting(COUNTS, start=0.5, beta=0.0)
    assert value(1.0) == pytest.approx(plain, rel=1e-6)  # beta 0 weighs all alike
    loss.reweighting = DeferredReweighting(COUNTS, start=0.5, beta=0.99)
    assert value(0.4) == pytest.approx(plain, rel=1e-6)
    assert value(0.6) != pytest.approx(plain, rel=1e-3)


def test_effective_number_does_not_cancel():
    """Against exact fractions; in float32 the plain form is off by 1e-4 for beta 0.9999 and n = 1."""
    from fractions import Fraction

    counts = [1, 2, 3, 1000]
    beta = Fraction(9999, 10000)
    exact = [(1 - beta) / (1 - beta**n) for n in counts]
    expected = [float(w * len(exact) / sum(exact)) for w in exact]
    weights = effective_number_weights(torch.tensor(counts, dtype=torch.float64), 0.9999)
    assert weights.tolist() == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize("beta", [1.0, -0.1, 1.5])
def test_beta_out_of_range(beta):
    with pytest.raises(LtDetError, match=r"BETA must lie in \[0, 1\)"):
        DeferredReweighting(COUNTS, start=0.5, beta=beta)


def config(start, steps=(600, 900), max_iter=1000):
    cfg = get_cfg()
    lt_det.add_lt_config(cfg)
    cfg.SOLVER.STEPS, cfg.SOLVER.MAX_ITER = steps, max_iter
    cfg.merge_from_list(["MODEL.LONG_TAIL.REWEIGHTING.START", str(start)])
    return cfg


@pytest.mark.parametrize(
    ("start", "share"), [("never", None), ("first_lr_step", 0.6), ("'0.25'", 0.25), ("'700'", 0.7), ("'0'", 0.0)]
)
def test_start_by_config(start, share):
    assert reweighting_start(config(start)) == share


@pytest.mark.parametrize("start", ["soon", "'-1'", "'1001'"])
def test_start_that_is_no_point_of_the_training(start):
    with pytest.raises(LtDetError, match=r"write never, first_lr_step, a share"):
        reweighting_start(config(start))


def test_unknown_progress_is_no_early_phase():
    loss = SoftmaxCrossEntropy(4)
    loss.reweighting = DeferredReweighting(COUNTS, start=0.5)
    with pytest.raises(LtDetError, match="length of the training is not known; give LongTailPredictor max_iter"):
        loss(torch.randn(6, 5), LABELS)


def test_refused_by_losses_without_rows():
    with pytest.raises(LtDetError, match="'eql' has not"):
        build_loss_for_data("eql", 4, ["x"], reweighting_start=0.5)


def test_softmax_without_it_stays_stock():
    loss = SoftmaxCrossEntropy(4)
    logits = torch.randn(6, 5)
    assert loss(logits, LABELS) == torch.nn.functional.cross_entropy(logits, LABELS)
