"""The metric that decides: its direction, the mean of the buckets, and names that the evaluation does not have."""

import math

import pytest

from lt_det.errors import LtDetError
from lt_det.training import LongTailTrainer, Metric
from lt_det.training.hooks.options import HookOptions

METRIC, PATIENCE = "SOLVER.BEST_CHECKPOINT.METRIC", "SOLVER.EARLY_STOPPING.PATIENCE"


@pytest.mark.parametrize(
    ("metric", "better"),
    [
        (Metric("bbox/APr"), 3.0),
        (Metric("glossy_val/bbox/AP"), 3.0),
        (Metric("val_total_loss"), 1.0),
        (Metric("my_val/val_loss_cls"), 1.0),
        (Metric("bbox/error", "min"), 1.0),
        (Metric("bbox/loss_like", "max"), 3.0),
    ],
)
def test_direction(metric, better):
    worse = 4.0 - better
    assert metric.is_better(better, 2.0)
    assert not metric.is_better(worse, 2.0)
    assert not metric.is_better(2.0, 2.0)
    assert metric.is_better(worse, None)


def test_values_that_are_never_better():
    for value in (math.nan, math.inf, -math.inf):
        assert not Metric("bbox/AP").is_better(value, None)
        assert not Metric("val_total_loss").is_better(value, 5.0)


def test_the_smallest_improvement():
    assert not Metric("bbox/AP").is_better(2.5, 2.0, by=0.5)
    assert Metric("bbox/AP").is_better(2.6, 2.0, by=0.5)
    assert not Metric("val_total_loss").is_better(1.5, 2.0, by=0.5)
    assert Metric("val_total_loss").is_better(1.4, 2.0, by=0.5)


def test_the_mean_of_the_buckets():
    """Of those of one task that have a value, without the classes that training never sees."""
    metrics = {"bbox/AP": 50.0, "bbox/APr": math.nan, "bbox/APc": 10.0, "bbox/APf": 20.0, "bbox/AP50": 70.0}
    metrics |= {"bbox/APs": 80.0, "bbox/AP-unseen": 0.0, "segm/APr": 90.0}
    mean = Metric("bbox/bucket_mean")
    assert mean.value_in(metrics) == 15.0
    assert Metric("my_val/bbox/bucket_mean").value_in(metrics) is None
    assert mean.value_in({"bbox/AP-few": 1.0, "bbox/AP-many": 3.0}) == 2.0
    assert math.isnan(mean.value_in({"bbox/APr": math.nan}))
    assert mean.value_in({"bbox/AP": 1.0}) is None


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["SOLVER.BEST_CHECKPOINT.MODE", "up"], "BEST_CHECKPOINT.MODE"),
        ([METRIC, "bbox/AP", "SOLVER.BEST_CHECKPOINT.MODE", "up"], "is 'up'.*auto, max or min"),
        ([PATIENCE, 3], "PATIENCE.* is 3.*METRIC"),
        ([PATIENCE, -1], "PATIENCE.* is -1"),
        ([METRIC, "bbox/AP", PATIENCE, 3, "TEST.EVAL_PERIOD", 0], "EVAL_PERIOD.* is 0"),
        ([METRIC, "bbox/AP", "SOLVER.EARLY_STOPPING.MIN_DELTA", 0.5], "MIN_DELTA.* is 0.5.*PATIENCE"),
        ([METRIC, "bbox/AP", "SOLVER.EARLY_STOPPING.MIN_DELTA", -0.5], "MIN_DELTA.* is -0.5"),
        ([METRIC, "val_total_loss"], "val_total_loss.*TEST.VAL_LOSS"),
        ([METRIC, "bbox/AP", "DATASETS.TEST", ()], "DATASETS.TEST is empty"),
        (["TEST.VAL_LOSS", True, "DATASETS.TEST", ()], "VAL_LOSS is True.*DATASETS.TEST is empty"),
        ([METRIC, "bbox/AP", "DATASETS.TEST", ("hooks_val", "hooks_train")], "hooks_val/bbox/AP"),
        (["SOLVER.EMA.DECAY", 1.0], "EMA.DECAY.* is 1.0"),
        (["SOLVER.EMA.ENABLED", True, "TEST.PRECISE_BN.ENABLED", True], "PRECISE_BN.*SOLVER.EMA"),
    ],
)
def test_keys_that_make_no_sense(config, overrides, words):
    with pytest.raises(LtDetError, match=words):
        HookOptions.from_config(config(*overrides))


@pytest.mark.parametrize(
    ("train", "words"),
    [
        ({"best_checkpoint": {"metric": 3}}, "train.best_checkpoint.metric"),
        ({"early_stopping": {"patience": 2}}, "train.early_stopping.patience"),
        ({"early_stopping": {"patience": 2.5}}, "is 2.5"),
        ({"ema": {"enabled": 1}}, "EMA.ENABLED.* is 1"),
        ({"ema": {"enabled": True, "decay": "0.9"}}, "train.ema.decay"),
        ({"val_loss": "yes"}, "VAL_LOSS.* is 'yes'"),
        ({"ema": True}, "train.ema is True"),
        ({"early_stopping": None}, "train.early_stopping is None"),
        ({"compile": "yes"}, "train.compile is 'yes'"),
    ],
)
def test_keys_of_a_lazy_config(train, words):
    with pytest.raises(LtDetError, match=words):
        HookOptions.from_lazy({"eval_period": 2, **train})


def test_defaults_change_nothing(config):
    assert HookOptions.from_config(config()) == HookOptions.from_lazy({"eval_period": 2}) == HookOptions()


def test_a_metric_that_does_not_exist_is_refused_before_the_training(config, scripted):
    with pytest.raises(LtDetError, match=r"bbox/APx.*bbox/AP, .*bbox/bucket_mean"):
        scripted(config(METRIC, "bbox/APx"))
    with pytest.raises(LtDetError, match=r"segm/AP, .*bbox/APr"):
        LongTailTrainer(config(METRIC, "segm/AP"))


def test_metrics_of_a_trainers_own_test(config, scripted):
    """Which tasks it evaluates is not known before."""
    with pytest.raises(LtDetError, match=r"mine/AP, .*one of bbox/AP, "):
        scripted(config(METRIC, "mine/AP"), 1.0)  # the first evaluation


def test_the_message_for_many_classes():
    names = {f"bbox/AP-{index}": 0.0 for index in range(80)} | {"bbox/AP": 0.0, "bbox/AP50": 0.0}
    assert str(Metric("bbox/APr").unknown(names)).endswith("write one of bbox/AP, bbox/AP50, bbox/bucket_mean.")


def test_a_metric_that_the_first_evaluation_does_not_have(config, scripted):
    """bbox/AP50 exists in lt_det's evaluation, but not in that of this trainer."""
    with pytest.raises(LtDetError, match=r"bbox/AP50, .*one of bbox/AP, bbox/APc, bbox/APr, bbox/bucket_mean\."):
        scripted(config(METRIC, "bbox/AP50"), 1.0)
