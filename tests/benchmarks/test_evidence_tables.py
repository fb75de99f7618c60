"""docs/evidence.md is made from the results, and its cells are what the results say."""

import json
import math
import re
import statistics

import numpy as np
import pytest

from benchmarks.evidence import rows, summary
from benchmarks.evidence.plan import read_plan
from benchmarks.evidence.rows import RESULTS
from benchmarks.evidence.summary import cell, difference, t_interval
from benchmarks.evidence.tables import figure, schedule
from benchmarks.evidence.tables.cells import NOT_RUN, number
from benchmarks.evidence.tables.imbalance import imbalance_order
from benchmarks.evidence.tables.page import PAGE, with_tables
from lt_det.evaluation.metrics.intervals import interval
from tests.helpers import REPOSITORY

PLAN = """
datasets: {held_out: {split_of: mini_lvis}}
search: {dataset: held_out, iterations: 80}
rows: {softmax: , seesaw: , tau_norm: {adjusts: softmax}}
blocks: [{rows: [softmax, seesaw], iterations: [80]}]
"""


@pytest.fixture(autouse=True)
def _in_the_root(monkeypatch):
    monkeypatch.chdir(REPOSITORY)


def test_the_page_is_made_from_the_results():
    page = PAGE.read_text()
    assert with_tables(page) == page, "run python -m benchmarks.evidence.tables"
    assert not re.search(r"[-+]0\.0\b", page), "what rounds to 0 has no sign"


def test_a_page_without_a_place_for_a_table_is_refused():
    with pytest.raises(ValueError, match="machines"):
        with_tables(PAGE.read_text().replace("<!-- /machines -->", ""))


def test_a_cell_of_the_page_is_the_mean_of_its_results():
    lines = PAGE.read_text().split("<!-- schedule -->")[1].split("<!-- /schedule -->")[0].splitlines()
    found = [json.loads(file.read_text()) for file in sorted((RESULTS / "trainings").glob("softmax_3200_seed?.json"))]
    (line,) = [line for line in lines if line.startswith("| softmax |")]
    texts = [text.strip() for text in line.split("|")[2:-1]]
    for metric, text in (("AP", texts[2]), ("APr", texts[6])):
        values = [row["metrics"][metric] for row in found]
        spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
        assert text == f"{sum(values) / len(values):.1f}{spread} ({len(values)})"


@pytest.fixture
def results(tmp_path, monkeypatch):
    """A folder for results that are made here."""
    monkeypatch.setattr(rows, "RESULTS", tmp_path)
    return tmp_path


@pytest.fixture
def plan(tmp_path, results):
    (tmp_path / "plan.yaml").write_text(PLAN)
    return read_plan(tmp_path / "plan.yaml")


def write(name, **metrics):
    rows.write_row(*name.split("/"), {"metrics": metrics})


def test_mean_spread_and_what_is_not_run(plan):
    for seed, ap in enumerate((10.0, 13.0, 10.0)):
        write(f"trainings/softmax_80_seed{seed}", AP=ap, APr=None if seed else 4.0)
    one = cell(plan, "softmax", 80)
    assert (one.mean("AP"), one.spread("AP")) == (11.0, math.sqrt(3))
    assert (one.mean("APr"), one.spread("APr")) == (4.0, None)
    assert one.mean("APc") is None
    assert number(one, "AP", count=True) == "11.0 ± 1.7 (3)"
    assert number(one, "APc") == "n/a"
    assert number(cell(plan, "seesaw", 80), "AP") == NOT_RUN


def test_a_difference_pairs_seeds(plan):
    for seed, (softmax, seesaw) in enumerate(((10, 11), (20, 22), (30, 33), (0, None))):
        write(f"trainings/softmax_80_seed{seed}", AP=float(softmax))
        if seesaw is not None:
            write(f"trainings/seesaw_80_seed{seed}", AP=float(seesaw))
    found = difference(cell(plan, "seesaw", 80), cell(plan, "softmax", 80), "AP")
    assert (found.value, found.seeds, found.over_images) == (2.0, 3, None)
    half = 4.303 / math.sqrt(3)
    assert found.over_seeds == pytest.approx((2 - half, 2 + half))


def test_no_interval_over_two_seeds():
    assert t_interval([1.0, 2.0]) is None


def test_the_interval_over_images_pairs_draws_of_the_same_images(plan):
    generator = np.random.default_rng(0)
    images = generator.normal(0, 5, 200)  # what both have in common
    draws = {}
    for row, gain in (("softmax", 0.0), ("seesaw", 3.0)):
        for seed in (0, 1):
            write(f"trainings/{row}_80_seed{seed}", AP=50.0 + gain)
            values = draws[row, seed] = np.round(50 + gain + images + generator.normal(0, 0.5, 200), 2)
            rows.write_row("draws/trainings", f"{row}_80_seed{seed}", {"seed": 0, "images": "a", "AP": values.tolist()})
    found = difference(cell(plan, "seesaw", 80), cell(plan, "softmax", 80), "AP")
    mean = sum(draws["seesaw", seed] - draws["softmax", seed] for seed in (0, 1)) / 2
    assert found.over_images == pytest.approx(interval(mean, 3.0))
    assert found.over_images[0] > 1
    for seed in (0, 1):
        rows.write_row("draws/trainings", f"seesaw_80_seed{seed}", {"seed": 0, "images": "b", "AP": images.tolist()})
        # Also when one seed is without a pair: an interval from the other one would not belong to the mean of both.
        assert difference(cell(plan, "seesaw", 80), cell(plan, "softmax", 80), "AP").over_images is None


def test_an_adjustment_is_reported_at_the_strength_chosen_on_held_out_images(plan):
    final = {"0": {"AP": 50.0}, "0.5": {"AP": 52.0}, "1": {"AP": 55.0}}
    rows.write_row("trainings", "tau_norm_80_seed0", {"values": final})
    assert not cell(plan, "tau_norm", 80).metrics
    held_out = {"0": {"AP": 40.0}, "0.5": {"AP": 45.0}, "1": {"AP": 41.0}}
    rows.write_row("held_out", "tau_norm_80_seed0", {"values": held_out})
    assert cell(plan, "tau_norm", 80).mean("AP") == 52.0


def test_the_figure_is_shown_once_there_are_two_lengths(results, monkeypatch):
    write("trainings/seesaw_800_seed0", AP=40.0, APr=10.0)
    assert not schedule.has_schedule(schedule.schedule_cells())
    assert "evidence_schedule.png" not in schedule.lengths()
    write("trainings/seesaw_3200_seed0", AP=60.0, APr=None)
    assert "(images/evidence_schedule.png)" in schedule.lengths()
    monkeypatch.setattr(figure, "IMAGE", results / "figure.png")
    figure.draw_schedule(schedule.schedule_cells())
    assert (results / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_the_order_is_compared_with_the_published_accuracy(results):
    published = {"erm": 30.0, "ldam": 20.0, "cb_rs": 35.0, "m_drw": 15.0, "ldam_drw": 10.0}
    empty = {name: {} for name in ("step_100", "exponential_10", "step_10")}
    rows.write_row("published", "ldam_table2", {"error": {"CIFAR-10": {"exponential_100": published, **empty}}})
    for row, error in published.items():
        write(f"exponential_100/{row}_1600_seed0", AP=80 - error)
    assert "| exponential 100 | 1.00 | 5 |" in imbalance_order()
    write("exponential_100/cb_rs_1600_seed0", AP=90.0)  # the worst one becomes the best
    assert "| exponential 100 | 0.00 | 5 |" in imbalance_order()
    write("step_10/erm_1600_seed0", AP=90.0)
    assert f"| step 10 | {NOT_RUN} | 0 |" in imbalance_order()  # one row has no order
    assert "exponential 10" not in imbalance_order().replace("exponential 100", "")  # nothing has been run


def test_thirds_of_the_classes_by_training_images():
    result = {"class_images": [5, 900, 3, 40, 70, 800], "class_ap": [10.0, 80.0, None, 40.0, 50.0, 90.0]}
    assert summary.thirds(result) == {"AP rarest third": 10.0, "AP most frequent third": 85.0}


def test_lists_of_numbers_take_one_line(results):
    file = rows.write_row("a", "b", {"values": [1.5, None, -2e-05], "words": ["a", "b"], "empty": []})
    assert '"values": [1.5, null, -2e-05]' in file.read_text()
    assert rows.read_row("a", "b") == {"values": [1.5, None, -2e-05], "words": ["a", "b"], "empty": []}
