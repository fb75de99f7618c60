"""benchmarks/evidence/plan.py: what a plan runs, and that its results are of what it says."""

import pytest

from benchmarks.evidence import rows
from benchmarks.evidence.plan import PlanError, read_plan
from benchmarks.evidence.tables.cells import PLANS
from lt_det.losses import LOSSES
from lt_det.training import load_config
from tests.helpers import REPOSITORY

PLAN = """
datasets:
  held_out: {split_of: mini_lvis}
  small: {num_classes: 12}
search: {dataset: held_out, iterations: 80}
rows:
  softmax:
  ldam: {set: {MODEL.LONG_TAIL.LOSS.LDAM.HINGE: True}}
  crt: {detector: softmax, fraction: 0.5, iterations: 320}
  tau_norm: {adjusts: softmax, iterations: 320}
blocks:
  - {rows: [softmax, ldam], learning_rates: search}
  - {rows: [crt, tau_norm], learning_rates: search}
  - {rows: [ldam, crt, tau_norm], iterations: [320], seeds: [0, 1], learning_rates: chosen}
  - {rows: [softmax], dataset: small, iterations: [80]}
"""


@pytest.fixture
def results(tmp_path, monkeypatch):
    """Writes a result with this AP; all results are in a folder of their own."""
    monkeypatch.setattr(rows, "RESULTS", tmp_path / "results")
    monkeypatch.chdir(REPOSITORY)
    return lambda name, ap: rows.write_row(*name.split("/"), {"metrics": {"AP": ap}})


@pytest.fixture
def plan(tmp_path):
    (tmp_path / "plan.yaml").write_text(PLAN)
    return read_plan(tmp_path / "plan.yaml")


def by_name(plan):
    return {job.name: job for job in plan.jobs()}


def pairs(job):
    return dict(zip(job.overrides[::2], job.overrides[1::2], strict=True))


def test_the_learning_rate_with_the_best_ap_on_held_out_images_is_used(plan, results):
    waiting = by_name(plan)["trainings/ldam_320_seed0"]
    assert waiting.waits_for == ("held_out/ldam_80_seed0", "held_out/ldam_x2_80_seed0")
    for factor, ap in {"_x0.25": 28.0, "_x0.5": 30.0, "": 29.0, "_x2": 20.0}.items():
        results(f"held_out/ldam{factor}_80_seed0", ap)
    jobs = by_name(plan)
    assert "trainings/ldam_320_seed0" not in jobs
    chosen = jobs["trainings/ldam_x0.5_320_seed1"]
    assert not chosen.waits_for
    assert pairs(chosen) == {
        "SOLVER.MAX_ITER": "320",
        "SOLVER.STEPS": "(224, 288)",
        "SOLVER.CHECKPOINT_PERIOD": "400",
        "TEST.EVAL_PERIOD": "0",
        "SEED": "1",
        "SOLVER.BASE_LR": "0.02",
        "MODEL.LONG_TAIL.LOSS.LDAM.HINGE": "True",
    }


@pytest.mark.parametrize(
    ("ap", "following"),
    [
        ({1: 20, 2: 30}, 4),
        ({1: 20, 2: 30, 4: 31}, 8),
        ({1: 20, 2: 30, 4: 29}, None),
        ({1: 30, 2: 20}, 0.5),
        ({0.5: 30, 1: 30, 2: 20}, None),
        ({0.5: 31, 1: 30, 2: 20}, 0.25),
    ],
)
def test_the_search_goes_on_past_the_best_learning_rate(plan, results, ap, following):
    for factor, value in ap.items():
        results(f"held_out/ldam{'' if factor == 1 else f'_x{factor}'}_80_seed0", float(value))
    tried = {job.factor for job in plan.search_jobs("ldam")}
    assert tried == {*ap, following} - {None}
    missing = plan.chosen_factor("ldam")[1]
    assert missing == (() if following is None else (f"held_out/ldam_x{following}_80_seed0",))


def test_of_equal_ones_the_shipped_learning_rate_is_chosen(plan, results):
    for factor in ("_x0.5", "", "_x2"):
        results(f"held_out/ldam{factor}_80_seed0", 30.0)
    assert plan.chosen_factor("ldam") == (1, ())


def test_decoupled_training_and_adjustments_start_from_their_detector(plan, results):
    for factor, ap in {"": 2.0, "_x2": 3.0, "_x4": 1.0}.items():
        results(f"held_out/softmax{factor}_80_seed0", ap)
    jobs = plan.jobs()
    names = [job.name for job in jobs]
    found = by_name(plan)
    search = found["held_out/crt_x2_320_seed0"]
    assert search.detector.name == "held_out/softmax_x2_320_seed0"
    assert search.iterations == 160
    assert not search.waits_for
    final = found["trainings/tau_norm_320_seed1"]
    assert (final.detector.name, final.iterations, final.overrides) == ("trainings/softmax_x2_320_seed1", 0, ())
    for job in jobs:
        assert job.detector is None or names.index(job.detector.name) < names.index(job.name)


def test_the_first_seed_of_all_rows_comes_first_and_other_classes_are_set(plan, results):
    names = list(by_name(plan))
    assert names.index("trainings/ldam_320_seed1") > names.index("trainings/crt_320_seed0")
    assert pairs(by_name(plan)["small/softmax_80_seed0"])["MODEL.ROI_HEADS.NUM_CLASSES"] == "12"


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("fraction:", "fractions:", "fractions"),
        ("rows: [ldam, crt", "rows: [ldm, crt", "ldm"),
        ("dataset: small", "dataset: large", "large"),
        ("learning_rates: chosen", "learning_rates: best", "learning_rates"),
        ("search: {", "searches: {", "searches"),
        ("iterations: 80}", "iterations: 80, factors: [1, 2]}", "search has the unknown keys .*factors"),
    ],
)
def test_a_plan_with_a_mistake_is_refused(tmp_path, old, new, named):
    assert old in PLAN
    (tmp_path / "plan.yaml").write_text(PLAN.replace(old, new))
    with pytest.raises(PlanError, match=named):
        read_plan(tmp_path / "plan.yaml")


@pytest.fixture
def shipped(monkeypatch):
    """The jobs of all plans of the repository."""
    monkeypatch.chdir(REPOSITORY)
    files = sorted(PLANS.glob("*.yaml"))
    assert len(files) == 5
    return [job for file in files for job in read_plan(file).jobs()]


def test_jobs_of_one_name_are_the_same_in_all_plans(shipped):
    seen = {}
    for job in shipped:
        content = (job.config, job.overrides, job.detector and job.detector.name)
        assert seen.setdefault(job.name, content) == content


def test_results_are_of_what_a_plan_says(shipped):
    """A result is kept only as long as a plan asks for exactly this training."""
    jobs = {job.name: job for job in shipped}
    results = rows.read_training_rows()
    for name, result in results.items():
        assert (result["config"], result["overrides"]) == (jobs[name].config, list(jobs[name].overrides)), name
    assert len(results) >= 8


@pytest.fixture
def variants():
    """The losses of benchmarks/evidence/variants.py, which other tests must not see."""
    before = dict(LOSSES)
    import benchmarks.evidence.variants  # noqa: F401

    registered = {name: LOSSES[name] for name in set(LOSSES) - set(before)}
    yield registered
    for name in registered:
        del LOSSES[name]


def test_every_config_with_its_overrides_can_be_trained(shipped, variants):
    checked = set()
    for job in shipped:
        key = (job.row, job.config)
        if key not in checked:
            checked.add(key)
            load_config(job.config, list(job.overrides))
    assert len(checked) > 30
