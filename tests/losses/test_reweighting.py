"""Deferred re-weighting as its own piece."""

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg

import lt_det
from lt_det.config import reweighting_start
from lt_det.errors import LtDetError
from lt_det.losses import DeferredReweighting, SoftmaxCrossEntropy, build_loss
from lt_det.losses.class_weights import effective_number_weights
from lt_det.modeling import build_loss_for_data
from lt_det.statistics.class_stats import ClassStats

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
    ("start", "share"),
    [("None", None), ("first_lr_step", 0.6), ("0.25", 0.25), ("700", 0.7), ("0", 0.0), ("'0.5'", 0.5)],
)
def test_start_by_config(start, share):
    assert reweighting_start(config(start)) == share


@pytest.mark.parametrize("start", ["soon", "-1", "1000", "1001", "(600,)"])
def test_start_that_is_no_point_of_the_training(start):
    with pytest.raises(LtDetError, match=r"write first_lr_step, a share of the training below 1"):
        reweighting_start(config(start))


def test_unknown_progress_is_no_early_phase():
    loss = SoftmaxCrossEntropy(4)
    loss.reweighting = DeferredReweighting(COUNTS, start=0.5)
    with pytest.raises(LtDetError, match="length of the training is not known; give LongTailPredictor max_iter"):
        loss(torch.randn(6, 5), LABELS)


@pytest.mark.parametrize("steps", [(), (1000,), (2000, 3000)])
def test_first_step_that_never_comes(steps):
    with pytest.raises(LtDetError, match="but the learning rate has no step before the end"):
        reweighting_start(config("first_lr_step", steps=steps))


def test_first_step_of_a_schedule_without_steps():
    cfg = config("first_lr_step")
    cfg.SOLVER.LR_SCHEDULER_NAME = "WarmupCosineLR"
    with pytest.raises(LtDetError, match="LR_SCHEDULER_NAME is WarmupCosineLR"):
        reweighting_start(cfg)


def test_without_counts_it_refuses_to_train():
    loss = build_loss_for_data("softmax", 4, ["unknown"], reweighting_start=0.0)
    with pytest.raises(LtDetError, match="'unknown' is not registered"):
        loss(torch.zeros(6, 5), LABELS)


@pytest.mark.parametrize("name", ["cdt", "ldam", "class_balanced", "ib", "logit_adjustment"])
def test_lvis_without_its_json_is_for_testing(name):
    """Detectron2's metadata of LVIS has counts of images only."""
    loss = build_loss_for_data(name, 1203, ["lvis_v1_train"])
    with pytest.raises(LtDetError, match="cannot train without the class counts"):
        loss(torch.zeros(2, 1204), torch.tensor([0, 1203]), torch.zeros(2, 3))


def test_mean_over_instances():
    counts = torch.tensor(COUNTS, dtype=torch.float64)
    weights = effective_number_weights(counts, 0.99, "instances")
    assert float((weights * counts).sum() / counts.sum()) == pytest.approx(1)
    reweighting = DeferredReweighting(COUNTS, start=0.5, beta=0.99, mean_over="instances")
    assert torch.equal(reweighting.class_weight[:4], weights)
    with pytest.raises(LtDetError, match=r"REWEIGHTING.MEAN_OVER is 'rois'; write classes or instances"):
        DeferredReweighting(COUNTS, start=0.5, mean_over="rois")


def test_refused_by_losses_without_rows():
    for name in ("eql", "ib", "class_balanced", "seesaw"):
        with pytest.raises(LtDetError, match=f"goes with cdt, label_smoothing, .*, and not with '{name}'"):
            build_loss_for_data(name, 4, ["x"], reweighting_start=0.5)


def test_softmax_without_it_stays_stock():
    loss = SoftmaxCrossEntropy(4)
    logits = torch.randn(6, 5)
    assert loss(logits, LABELS) == torch.nn.functional.cross_entropy(logits, LABELS)
