"""Re-weighting by class around every loss, and the weights by name."""

import copy
import json

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg

import lt_det
from lt_det.config import REWEIGHTING_DEFAULTS, reweighting_start
from lt_det.errors import LtDetError
from lt_det.losses import (
    LOSSES,
    BackgroundFirst,
    ClassificationLoss,
    ClassReweighting,
    LDAMLoss,
    SoftmaxCrossEntropyLoss,
    build_loss,
    effective_number_weights,
    inverse_frequency_weights,
    registered_name,
)
from lt_det.losses.class_weights import weights_by_name
from lt_det.modeling import build_loss_for_data
from lt_det.statistics.class_stats import ClassStats
from lt_det.terminal import warn_once

COUNTS = [1, 10, 100, 1000]
LABELS = torch.tensor([0, 1, 2, 3, 4, 4])
STATS = ClassStats(tuple("abcd"), np.array(COUNTS), np.array(COUNTS), 1000, "test")
FEATURES = torch.rand(6, 3, generator=torch.Generator().manual_seed(1))
every_loss = pytest.mark.parametrize("name", sorted(LOSSES))


def logits_for(loss):
    return torch.randn(6, loss.num_logits, generator=torch.Generator().manual_seed(0))


def value(loss, progress=1.0, reduction="mean"):
    torch.manual_seed(0)
    loss.progress = progress
    return loss(logits_for(loss), LABELS, FEATURES, reduction)


def built(name):
    return build_loss(name, STATS, **({"alpha": 1.0} if name == "ib" else {})).eval()


def test_weights_begin_at_the_start():
    weights = effective_number_weights(COUNTS, 0.99)
    plain, loss = (SoftmaxCrossEntropyLoss(4) for _ in range(2))
    reweighted = ClassReweighting(loss, weights, start=0.8)
    rows = value(plain, reduction="none")
    assert value(reweighted, 0.79) == value(plain)
    weighted = value(reweighted, 0.8, "none")
    assert value(reweighted, 0.8) == weighted.mean()
    assert value(reweighted, 0.8, "sum") == weighted.sum()
    assert torch.equal(weighted[4:], rows[4:])  # background is the average class
    ratio = weighted[:4] / rows[:4]
    assert ratio.mean() == pytest.approx(1, rel=1e-6)
    assert ratio.tolist() == sorted(ratio.tolist(), reverse=True)


@every_loss
def test_goes_with_every_loss(name):
    """Each row is multiplied by its class's weight; the divisor stays the loss's own."""
    weights = torch.tensor([4.0, 3.0, 2.0, 0.0])
    plain, reweighted = built(name), ClassReweighting(built(name), weights, start=0.5)
    rows = value(plain, reduction="none")
    factor = torch.cat([weights, torch.ones(1)])[LABELS]
    torch.testing.assert_close(value(reweighted, reduction="none"), factor * rows)
    expected = (factor * rows).sum() / plain.divisor(LABELS)
    torch.testing.assert_close(value(reweighted), expected.to(rows.dtype))
    assert value(reweighted, 0.4) == value(plain, 0.4)
    assert value(ClassReweighting(built(name), torch.ones(4))) == pytest.approx(value(plain).item(), rel=1e-6)


@every_loss
def test_otherwise_it_is_the_loss(name):
    plain, reweighted = built(name), ClassReweighting(built(name), COUNTS, start=0.5)
    logits = logits_for(plain)
    assert registered_name(reweighted) == registered_name(plain) == name
    assert reweighted.num_logits == plain.num_logits
    assert reweighted.default_classifier == plain.default_classifier
    assert torch.equal(reweighted.scores(logits), plain.scores(logits))
    assert torch.equal(reweighted.predicted_classes(logits), plain.predicted_classes(logits))
    reweighted.progress = 0.25
    assert reweighted.loss.progress == copy.deepcopy(reweighted).progress == 0.25
    wrapped = BackgroundFirst(reweighted)
    assert wrapped.progress == 0.25
    wrapped.progress = 0.75
    assert reweighted.loss.progress == reweighted.progress == 0.75
    with pytest.raises(AttributeError):
        _ = reweighted.nothing


@every_loss
def test_its_checkpoint_is_that_of_the_loss(name):
    """A checkpoint of a re-weighted model loads without re-weighting, and the other way round."""

    def head(loss):
        return torch.nn.ModuleDict({"loss": loss, "cls_score": torch.nn.Linear(2, 2)})

    plain, reweighted = built(name), ClassReweighting(built(name), COUNTS, start=0.5)
    for buffer in plain.state_dict().values():
        buffer.add_(3)
    state = head(plain).state_dict()
    other = head(reweighted)
    assert other.state_dict().keys() == state.keys()
    missing, unexpected = other.load_state_dict({**state, "cls_score.weight": torch.ones(2, 2)})
    assert missing == unexpected == []
    for key, found in other.state_dict().items():
        assert key.startswith("cls_score") or torch.equal(found, state[key])
    head(built(name)).load_state_dict(other.state_dict())
    if plain.state_dict():
        missing, unexpected = head(reweighted).load_state_dict({"loss.extra": torch.ones(1)}, strict=False)
        assert (set(missing), unexpected) == (set(state), ["loss.extra"])


def test_a_loss_without_rows_is_refused():
    class Own(ClassificationLoss):
        def forward(self, logits, gt_classes, features=None):
            return logits.sum()

    with pytest.raises(LtDetError, match=r"Own\.forward has no argument 'reduction'"):
        ClassReweighting(Own(4), COUNTS)


def test_a_users_loss_with_rows_is_reweighted():
    class Own(ClassificationLoss):
        def row_losses(self, logits, gt_classes, features):
            return logits.square().sum(dim=1)

    loss = ClassReweighting(Own(2), [2.0, 3.0])
    rows = loss(torch.ones(3, 3), torch.tensor([0, 1, 2]), reduction="none")
    assert rows.tolist() == [6, 9, 3]


@pytest.mark.parametrize(
    ("weights", "start", "message"),
    [
        ([1, 2, 3], 0.0, r"needs 4 weights.* got \(3,\)"),
        ([1, 2, 3, -1], 0.0, "finite weights of at least 0"),
        ([1, 2, 3, float("nan")], 0.0, "finite weights of at least 0"),
        ([1, 2, 3, 4], 1.5, "START .* 1.5"),
    ],
)
def test_what_is_refused(weights, start, message):
    with pytest.raises(LtDetError, match=message):
        ClassReweighting(SoftmaxCrossEntropyLoss(4), weights, start=start)


# ------------------------------------------------------------------------------------------------- weights


def test_effective_number_does_not_cancel():
    """Against exact fractions; in float32 the plain form is off by 1e-4 for beta 0.9999 and n = 1."""
    from fractions import Fraction

    counts = [1, 2, 3, 1000]
    beta = Fraction(9999, 10000)
    exact = [(1 - beta) / (1 - beta**n) for n in counts]
    expected = [float(w * len(exact) / sum(exact)) for w in exact]
    weights = effective_number_weights(torch.tensor(counts, dtype=torch.float64), 0.9999)
    assert weights.tolist() == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize("power", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("mean_over", ["classes", "instances"])
def test_inverse_frequency(power, mean_over):
    weights = inverse_frequency_weights(COUNTS, power, mean_over).tolist()
    for weight, count in zip(weights, COUNTS, strict=True):
        assert weight / weights[0] == pytest.approx((COUNTS[0] / count) ** power)
    number = [1] * 4 if mean_over == "classes" else COUNTS
    assert sum(w * n for w, n in zip(weights, number, strict=True)) / sum(number) == pytest.approx(1)


def test_weights_by_name():
    assert torch.equal(weights_by_name("effective_number", COUNTS, beta=0.9), effective_number_weights(COUNTS, 0.9))
    named = weights_by_name("inverse_frequency", COUNTS, power=0.7)
    assert torch.equal(named, inverse_frequency_weights(COUNTS, 0.7))
    assert torch.equal(weights_by_name("sqrt", COUNTS), inverse_frequency_weights(COUNTS, 0.5))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("effective_number", {"beta": 1.0}, r"BETA .* 1\.0"),
        ("effective_number", {"beta": -0.1}, r"BETA .* -0\.1"),
        ("effective_number", {"mean_over": "rois"}, "REWEIGHTING.MEAN_OVER is 'rois'"),
        ("inverse_frequency", {"power": 1.1}, r"POWER .* 1\.1"),
        ("inverse_frequency", {"beta": 0.5}, "BETA is 0.5.*'inverse_frequency'"),
        ("sqrt", {"power": 0.4}, "POWER is 0.4.*'sqrt'"),
        ("root", {}, "WEIGHTS is 'root'"),
    ],
)
def test_weights_that_are_refused(name, options, message):
    with pytest.raises(LtDetError, match=message):
        weights_by_name(name, COUNTS, **options)


def test_mean_over_instances():
    counts = torch.tensor(COUNTS, dtype=torch.float64)
    weights = effective_number_weights(counts, 0.99, "instances")
    assert float((weights * counts).sum() / counts.sum()) == pytest.approx(1)


# --------------------------------------------------------------------------------------- from a config


@pytest.fixture
def stats_file(tmp_path):
    STATS.save(tmp_path / "stats.json")
    return str(tmp_path / "stats.json")


def from_data(stats_file, name="softmax", start=0.0, **options):
    options = {f"reweighting_{key}": option for key, option in options.items()}
    return build_loss_for_data(name, 4, ["x"], class_stats=stats_file, reweighting_start=start, **options)


@pytest.mark.parametrize("content", [{"d": 4.0, "a": 1, "c": 3, "b": 2.5}, [1, 2.5, 3, 4.0]])
def test_weights_of_a_file_are_used_as_they_are(content, stats_file, tmp_path):
    (tmp_path / "weights.json").write_text(json.dumps(content))
    loss = from_data(stats_file, weights=str(tmp_path / "weights.json"))
    assert loss.class_weight.tolist() == [1, 2.5, 3, 4, 1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": 1, "b": 2, "c": 3}, "class 'd'"),
        ({"a": 1, "b": 2, "c": 3, "d": 4, "e": 5}, "class 'e'"),
        ([1, 2, 3], r"needs 4 weights.* \(3,\)"),
        ([1, 2, 3, "4"], "list of numbers"),
        ("text", "list of numbers"),
    ],
)
def test_files_that_are_refused(content, message, stats_file, tmp_path):
    (tmp_path / "weights.json").write_text(json.dumps(content))
    with pytest.raises(LtDetError, match=message):
        from_data(stats_file, weights=str(tmp_path / "weights.json"))


def test_a_name_that_is_neither_weights_nor_a_file(stats_file):
    with pytest.raises(LtDetError, match=r"WEIGHTS is 'root'.*effective_number, inverse_frequency, sqrt"):
        from_data(stats_file, weights="root")


@pytest.mark.parametrize("options", [{"beta": 0.5}, {"power": 0.5}, {"mean_over": "instances"}])
def test_options_that_a_file_would_ignore(options, stats_file, tmp_path):
    (tmp_path / "weights.json").write_text("[1, 1, 1, 1]")
    with pytest.raises(LtDetError, match=next(iter(options)).upper()):
        from_data(stats_file, weights=str(tmp_path / "weights.json"), **options)


@every_loss
def test_every_loss_by_config(name, stats_file):
    loss = from_data(stats_file, name, 0.5, weights="sqrt")
    assert isinstance(loss, ClassReweighting)
    assert torch.equal(loss.class_weight[:4], inverse_frequency_weights(COUNTS, 0.5))


def config(start, steps=(600, 900), max_iter=1000):
    cfg = get_cfg()
    lt_det.add_lt_config(cfg)
    cfg.SOLVER.STEPS, cfg.SOLVER.MAX_ITER = steps, max_iter
    cfg.merge_from_list(["MODEL.LONG_TAIL.REWEIGHTING.START", str(start)])
    return cfg


@pytest.mark.parametrize(
    ("start", "fraction"),
    [("None", None), ("first_lr_step", 0.6), ("0.25", 0.25), ("700", 0.7), ("0", 0.0), ("'0.5'", 0.5)],
)
def test_start_by_config(start, fraction):
    assert reweighting_start(config(start)) == fraction


@pytest.mark.parametrize("start", ["soon", "-1", "1000", "1001", "(600,)"])
def test_start_that_is_not_a_point_of_the_training(start):
    with pytest.raises(LtDetError, match=r"REWEIGHTING.START is .*write first_lr_step"):
        reweighting_start(config(start))


@pytest.mark.parametrize(("key", "chosen"), [("WEIGHTS", "sqrt"), ("POWER", 0.5)])
def test_weights_without_a_start_are_not_ignored(key, chosen):
    cfg = config("None")
    cfg.MODEL.LONG_TAIL.REWEIGHTING[key] = chosen
    with pytest.raises(LtDetError, match=f"{key} {chosen}.* START is None"):
        reweighting_start(cfg)


@pytest.mark.parametrize(("key", "chosen"), [("WEIGHTS", "sqrt"), ("POWER", 0.5), ("WEIGHTS", "weights.json")])
def test_weights_of_a_lazy_config_without_a_start_are_not_ignored(key, chosen, stats_file):
    with pytest.raises(LtDetError, match=rf"{key} {chosen}.* START is None.*reweighting_start"):
        from_data(stats_file, start=None, **{key.lower(): chosen})


@pytest.mark.parametrize(("key", "chosen"), [("BETA", 0.99), ("MEAN_OVER", "instances")])
def test_options_of_weights_without_a_start_are_warned_of_once(key, chosen, caplog, stats_file):
    """Older configs may have them, so that they are no error."""
    warn_once.cache_clear()
    cfg = config("None")
    cfg.MODEL.LONG_TAIL.REWEIGHTING[key] = chosen
    assert reweighting_start(cfg) is reweighting_start(cfg) is None
    (record,) = caplog.records
    assert f"{key} {chosen}" in record.getMessage()
    assert "START is None" in record.getMessage()
    node = cfg.MODEL.LONG_TAIL.REWEIGHTING
    options = {name.lower(): node[name] for name in REWEIGHTING_DEFAULTS}
    assert isinstance(from_data(stats_file, start=None, **options), SoftmaxCrossEntropyLoss)
    assert len(caplog.records) == 1  # a yaml config, whose loss is built from the same options, is warned of once
    warn_once.cache_clear()
    from_data(stats_file, start=None, **options)
    assert caplog.records[-1].getMessage() == record.getMessage()
    assert len(caplog.records) == 2


def test_unknown_progress_is_no_early_phase():
    loss = ClassReweighting(SoftmaxCrossEntropyLoss(4), COUNTS, start=0.5)
    with pytest.raises(LtDetError, match="length of the training is not known; give LongTailPredictor max_iter"):
        loss(torch.randn(6, 5), LABELS)


def test_weights_from_the_beginning_need_no_progress():
    loss = ClassReweighting(SoftmaxCrossEntropyLoss(4), [1.0, 1.0, 1.0, 0.0])
    assert loss(torch.zeros(1, 5), torch.tensor([3])) == 0


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


def test_softmax_without_it_stays_stock():
    loss = SoftmaxCrossEntropyLoss(4)
    logits = torch.randn(6, 5)
    assert loss(logits, LABELS) == torch.nn.functional.cross_entropy(logits, LABELS)


def test_ldam_drw_is_the_reweighted_ldam(stats_file):
    loss = from_data(stats_file, "ldam", 0.5, beta=0.99)
    own = ClassReweighting(LDAMLoss(4, instance_counts=COUNTS), effective_number_weights(COUNTS, 0.99), start=0.5)
    assert value(loss) == value(own)
