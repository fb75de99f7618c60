"""Each config has a row, and docs/zoo.md, zoo/lvis_v1.md and the configs' first lines say what the rows say."""

import json
import runpy

import msgspec
import pytest

from lt_det.data.class_counts import training_stats
from lt_det.errors import LtDetError
from lt_det.zoo.initial_loss import initial_loss
from lt_det.zoo.rows import Row, Run, read_rows, write_row
from tests.helpers import REPOSITORY


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(REPOSITORY / "docs" / "zoo.py"))


@pytest.fixture(scope="module")
def everything(script):
    return script["read_all"]()


def test_rows_are_of_the_configs(everything):
    rows, _, _ = everything
    configs = REPOSITORY / "configs"
    shipped = {str(path.relative_to(REPOSITORY)) for path in [*configs.glob("*.yaml"), *configs.glob("lazy/*.py")]}
    assert set(rows) == shipped
    assert {row.twin for row in rows.values()} - {""} <= shipped


def test_pages_are_those_of_the_rows(script, everything):
    losses = json.loads(script["LOSSES"].read_text())
    for file, text in script["pages"](*everything, losses).items():
        assert file.read_text() == text, f"run python docs/zoo.py: {file} is out of date"


@pytest.mark.parametrize("name", ["lvis_softmax", "lvis_seesaw"])
def test_initial_losses_are_those_of_the_configs(script, everything, name):
    config = f"configs/{name}.yaml"
    computed = initial_loss(everything[1][config], training_stats(["lvis_v1_train"]))
    assert json.loads(script["LOSSES"].read_text())[config] == pytest.approx(computed, rel=1e-3)


def test_each_source_has_a_link_and_is_used(everything):
    rows, _, sources = everything
    assert {one.source for row in rows.values() for one in row.published} == set(sources)
    for source in sources.values():
        assert set(source) == {"name", "link", "protocol"}
        assert source["link"].startswith("https://github.com/")
    for row in rows.values():
        for one in row.published:
            assert one.differs or one.protocol == "same", row.config


def test_first_lines_of_configs_agree(script, everything):
    assert script["header_problems"](everything[0]) == []


@pytest.mark.parametrize(
    "config", ["configs/lvis_softmax.yaml", "configs/mini_lvis_eql.yaml", "configs/mini_lvis_crt.yaml"]
)
def test_first_lines_that_do_not_agree(script, everything, config):
    rows = dict(everything[0])
    changed = json.loads(msgspec.json.encode(rows[config]))
    for one in [*changed.get("published", []), *changed.get("summaries", [])]:
        one["metrics"]["AP"] += 0.1
    rows[config] = msgspec.convert(changed, Row)
    (problem, *_) = script["header_problems"](rows)
    assert config in problem


def test_commands_of_the_cluster_page_name_every_config(script, everything):
    text = script["LVIS_PAGE"].read_text()
    for config, cfg in everything[1].items():
        assert (f"--config {config} " in text) is (cfg.DATASETS.TRAIN[0] == "lvis_v1_train"), config


def run(seed, ap, **changes):
    values = {"seed": seed, "iterations": 9, "metrics": {"bbox": {"AP": ap}}, "dataset": "d", "fingerprint": None}
    return Run(**{**values, "commit": "abc", "hardware": "a GPU", **changes})


def test_seeds_become_mean_and_deviation(script):
    runs = [run(0, 30.0), run(1, 32.0), run(0, 50.0, overrides={"SOLVER.BASE_LR": 1})]
    lines = script["result_lines"](Row(config="x", runs=runs), [], {})
    assert [line[1] for line in lines] == ["31.0 ± 1.4", "50.0"]
    assert "seeds 0, 1" in lines[0][-1]
    assert "SOLVER.BASE_LR 1" in lines[1][-1]
    assert script["result_lines"](Row(config="x"), [], {})[0][-1] == "ours: not run"


def test_a_row_under_another_name_is_refused(tmp_path):
    write_row(Row(config="configs/lvis_eql.yaml"), tmp_path).rename(tmp_path / "eql.json")
    with pytest.raises(LtDetError, match=r"lvis_eql\.json"):
        read_rows(tmp_path)
