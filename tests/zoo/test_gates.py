"""`lt-det zoo check`, and the initial losses that it computes."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from lt_det.cli import main
from lt_det.statistics.class_stats import ClassStats
from lt_det.training import load_config
from lt_det.zoo.checking import check_run
from lt_det.zoo.gates import FOREGROUND, Gate, gates_of, learning_rates
from lt_det.zoo.initial_loss import initial_loss
from lt_det.zoo.rows import Bound, Published, Row, write_row
from tests.helpers import REPOSITORY
from tests.zoo.test_adding import lines, write_lines


@pytest.fixture
def stats():
    images = np.geomspace(1, 2000, 62).astype(np.int64)
    return ClassStats(tuple(f"c{k}" for k in range(62)), images, 2 * images, 4000, "a test")


def config(name, *keys):
    return load_config(str(REPOSITORY / "configs" / f"mini_lvis_{name}.yaml"), keys)


def test_a_real_run_passes(clone, capsys):
    assert main(["zoo", "check", "output"]) == 0
    checked = check_run("output")
    assert {verdict.status for verdict in checked.verdicts} == {"pass"}
    assert (checked.iterations, checked.planned, checked.overrides) == (40, 40, {})
    metrics = {verdict.gate.metric for verdict in checked.verdicts}
    assert metrics == {"loss_cls", "total_loss", "lr", FOREGROUND, "bbox/AP"}
    assert "0 failed" in capsys.readouterr().out


def change(metric, factor):
    write_lines([{**line, metric: factor * line[metric]} if metric in line else line for line in lines()])


@pytest.mark.parametrize(
    ("metric", "factor", "failing"),
    [
        ("loss_cls", 10, "loss_cls"),
        ("lr", 2, "lr"),
        ("total_loss", math.nan, "total_loss"),
        ("roi_head/num_fg_samples", 0, FOREGROUND),
        ("bbox/AP", 0, "bbox/AP"),
    ],
)
def test_a_wrong_metric_fails(clone, capsys, metric, factor, failing):
    change(metric, factor)
    assert main(["zoo", "check", "output"]) == 1
    assert f"FAIL: {failing}" in capsys.readouterr().out
    assert {gate.metric for gate in check_run("output").failed} == {failing}


def test_a_run_on_its_way(clone):
    write_lines(lines()[:1])
    statuses = {(verdict.gate.at, verdict.status) for verdict in check_run("output").verdicts}
    assert (1.0, "not reached") in statuses
    assert (0.01, "pass") in statuses
    assert main(["zoo", "check", "output"]) == 0


def test_the_row_adds_gates_unless_the_run_differs(clone):
    ap = json.loads(Path("output/metrics.json").read_text().splitlines()[-1])["bbox/AP"]
    published = [
        Published(source=name, task="bbox", metrics={"AP": ap + more}, protocol=protocol)
        for name, more, protocol in (("A", 1.5, "same"), ("B", 0.5, "same"), ("C", 0.5, "shorter"), ("D", 9, "other"))
    ]
    bounds = [Bound(metric="bbox/APf", at=1.0, high=100.0, why="a percentage")]
    write_row(Row(config="configs/mini_lvis_small.yaml", published=published, bounds=bounds), Path("zoo/rows"))
    of_row = [
        verdict for verdict in check_run("output").verdicts if verdict.gate.at == 1 and "/AP" in verdict.gate.metric
    ]
    found = [(verdict.gate.why[:1], verdict.gate.kind, verdict.status) for verdict in of_row]
    assert found == [("a", "heuristic", "pass"), ("A", "published", "FAIL"), ("B", "published", "pass"),
                     ("C", "published", "pass")]  # fmt: skip
    text = Path("configs/mini_lvis_small.yaml").read_text()
    Path("configs/mini_lvis_small.yaml").write_text(text.replace("BASE_LR: 0.02", "BASE_LR: 0.01"))
    checked = check_run("output")
    assert list(checked.overrides) == ["SOLVER.BASE_LR"]
    assert checked.failed == []


def test_initial_loss_in_closed_form(stats):
    """Softmax: ln(K + 1). A sigmoid with prior p: -K ln(1 - p), and for foreground ln(1 - p) - ln(p) more."""
    for value in initial_loss(config("softmax"), stats):
        assert value == pytest.approx(math.log(63), rel=2e-3)
    cfg = config("sigmoid")
    prior = torch.sigmoid(torch.tensor(-math.log(999))).item()  # the paper's 0.001
    background, more = -62 * math.log(1 - prior), math.log(1 - prior) - math.log(prior)
    for value, fraction in zip(initial_loss(cfg, stats), (1 / 64, 0.25), strict=True):
        assert value == pytest.approx(background + fraction * more, rel=0.05)


def test_initial_loss_leaves_the_generator_alone(stats):
    state = torch.get_rng_state()
    assert initial_loss(config("seesaw"), stats) == initial_loss(config("seesaw"), stats)
    assert torch.equal(torch.get_rng_state(), state)


def test_learning_rates_are_those_that_a_run_logs(clone):
    cfg = load_config("output/config.yaml")
    logged = [(line["iteration"], line["lr"]) for line in lines() if "lr" in line]
    assert len(logged) == 2
    iterations, rates = zip(*logged, strict=True)
    assert learning_rates(cfg, iterations) == pytest.approx(rates, rel=1e-9)


def test_gates_of_other_configs(stats):
    def metrics(name):
        return {gate.metric for gate in gates_of(config(name), stats, Row(config="x"))}

    assert metrics("norcal") == set()
    assert "loss_cls" not in metrics("crt")
    starts = [gate for gate in gates_of(config("lws"), stats, Row(config="x")) if gate.at == 0]
    assert starts == []


def test_bounds():
    def gate(low, high):
        return Gate(1.0, 9, "x", low, high, "computed", "")

    assert [gate(*pair).bounds for pair in ((None, None), (None, 2), (1, None), (1, 2), (2, 2))] == [
        "finite", "at most 2", "at least 1", "1 to 2", "2"]  # fmt: skip
    assert not gate(None, None).passes(math.inf)
    assert not gate(None, 2).passes(math.nan)
    assert gate(1, 2).passes(2)
