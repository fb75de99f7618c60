"""docs/costs.md has every config for LVIS and COCO, with each number marked as an estimate or exact."""

import json
import re
import runpy

import pytest

from tests.helpers import REPOSITORY


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(REPOSITORY / "docs" / "costs.py"))


@pytest.fixture(scope="module")
def cfgs(script):
    return script["read_configs"]()


@pytest.fixture(scope="module")
def costs(script):
    return json.loads(script["COSTS"].read_text())


@pytest.fixture(scope="module")
def sizes(script):
    return json.loads(script["SIZES"].read_text())


def test_each_config_has_its_row(script, cfgs, sizes):
    shipped = {path.name for path in (REPOSITORY / "configs").glob("*.yaml")}
    large = {name for name in shipped if name.startswith(("lvis", "coco"))}
    assert set(cfgs) == set(sizes) == large
    assert all(f"(../configs/{name})" in script["PAGE"].read_text() for name in large)


def test_the_page_is_that_of_the_files(script, cfgs, costs, sizes):
    assert script["PAGE"].read_text() == script["page"](cfgs, costs, sizes), "run python docs/costs.py"


def test_each_cell_is_a_number_and_estimates_are_marked(script, cfgs, costs, sizes):
    for name, cfg in cfgs.items():
        _, iterations, hours, memory, evaluations, minutes, *disk = script["row"](name, cfg, costs, sizes[name])
        assert re.fullmatch(r"\d+|no training", iterations)
        assert re.fullmatch(r"(at most )?≈ \d+\.\d|0", hours)
        assert re.fullmatch(r"(at most )?≈ \d+\.\d", memory)
        assert re.fullmatch(r"≈ \d+\.\d", minutes)
        assert re.fullmatch(r"\d+", evaluations)
        assert all(re.fullmatch(r"\d+\.\d\d", cell) for cell in disk)


def test_numbers_of_one_config(script, cfgs, costs):
    cells = script["row"]("lvis_eql.yaml", cfgs["lvis_eql.yaml"], costs, 0.5e9)
    expected = ["180000", "≈ 14.6", "≈ 7.1", "6", "≈ 4.4", "0.50", "1.00", "18.50"]  # 36 periods and the end
    assert cells[1:] == expected
    assert costs["detectors"]["Cascade Mask R-CNN, LVIS"]["seconds_per_iteration"] == pytest.approx(
        0.292 + 0.317 - 0.261
    )


@pytest.mark.slow
def test_the_size_of_a_checkpoint_is_that_of_the_network(script, cfgs, sizes):
    assert script["checkpoint_bytes"](cfgs["coco_softmax.yaml"]) == sizes["coco_softmax.yaml"]


@pytest.mark.parametrize(("keep", "files"), [(None, 37), (3, 4), (100, 37)])
def test_checkpoints_that_are_kept(script, cfgs, keep, files):
    cfg = cfgs["lvis_eql.yaml"].clone()
    cfg.defrost()
    cfg.SOLVER.MAX_TO_KEEP = keep
    assert script["kept_checkpoints"](cfg) == files
