"""benchmarks/evidence/adjusted.py on a detector with random weights: it keeps the draws of the chosen strength."""

import json
from pathlib import Path

import pytest

from benchmarks.evidence import adjusted, rows
from benchmarks.evidence.plan import Job, read_plan
from benchmarks.evidence.rows import metrics_of
from tests.helpers import REPOSITORY
from tests.helpers.proposals import random_detector

KEYS = ("MODEL.ROI_HEADS.NUM_CLASSES", "12", "TEST.DETECTIONS_PER_IMAGE", "30")
PLAN = """
datasets: {held_out: {split_of: mini_lvis}}
search: {dataset: held_out, iterations: 10}
rows: {softmax: , tau_norm: {adjusts: softmax, iterations: 10}}
blocks: [{rows: [tau_norm], iterations: [10], learning_rates: chosen}]
"""


@pytest.fixture(autouse=True)
def _in_the_root(monkeypatch, tmp_path):
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setattr(rows, "RESULTS", tmp_path / "results")


@pytest.mark.usefixtures("mini")
def test_the_draws_are_those_of_the_chosen_strength(tmp_path, datasets_root):
    work = tmp_path / "work"
    detector = Job("trainings/softmax_10_seed0", "softmax", "mini_lvis", 0, "configs/mini_lvis_softmax.yaml", KEYS, 10)
    config = "configs/mini_lvis_tau_norm.yaml"
    job = Job("trainings/tau_norm_10_seed0", "tau_norm", "mini_lvis", 0, config, KEYS, 0, detector=detector)
    (work / detector.name).mkdir(parents=True)
    random_detector(Path(detector.config).resolve(), work / detector.name, *KEYS)
    folder = adjusted.evaluate(job, "1", work, datasets_root)
    found = json.loads((folder / "calibration.json").read_text())
    assert found["chosen"] == 1, "the test needs a strength that helps this detector"
    metrics = {f"{one['value']:g}": metrics_of(one) for one in found["grid"]}

    rows.write_row("trainings", "tau_norm_10_seed0", {"values": {"1": metrics["0"]}})
    assert not adjusted.keep_draws(job, "1", folder)
    assert rows.read_row("draws/trainings", "tau_norm_10_seed0") is None

    rows.write_row("trainings", "tau_norm_10_seed0", {"values": metrics})
    assert adjusted.keep_draws(job, "1", folder)
    evaluation = json.loads((folder / "inference" / "mini_lvis_val" / "evaluation.json").read_text())
    draws = rows.draws_of(evaluation["tasks"]["bbox"]["resamples"])
    assert rows.read_row("draws/trainings", "tau_norm_10_seed0") == draws


def test_only_adjustments_with_a_chosen_strength_and_no_draws_are_evaluated(tmp_path):
    (tmp_path / "plan.yaml").write_text(PLAN)
    plan = read_plan(tmp_path / "plan.yaml")
    final = {"values": {"0": {"AP": 50.0}, "0.5": {"AP": 52.0}}}
    assert adjusted.without_draws(plan) == []
    rows.write_row("trainings", "tau_norm_10_seed0", final)
    assert adjusted.without_draws(plan) == []
    rows.write_row("held_out", "tau_norm_10_seed0", final)
    assert [job.name for job in adjusted.without_draws(plan)] == ["trainings/tau_norm_10_seed0"]
    rows.write_row("draws/trainings", "tau_norm_10_seed0", {"seed": 0, "images": "a", "AP": [1.0]})
    assert adjusted.without_draws(plan) == []
