"""How a comparison calls its runs."""

import os

import pytest

from lt_det.evaluation.bakeoff_schema import Written, write_bakeoff
from lt_det.reporting.comparison.names import run_names
from tests.helpers.bakeoffs import bakeoff
from tests.helpers.evaluations import evaluation, write_run


@pytest.fixture
def detector(tmp_path):
    """The folder of a bake-off's detector, evaluated after it was written."""
    folder = tmp_path / "mine" / "bakeoff" / "detector"
    folder.mkdir(parents=True)
    (folder / "model_final.pth").write_bytes(b"")
    written = Written(name="seesaw", config="/there/detector/config.yaml", checkpoint="/there/detector/model_final.pth")
    write_bakeoff(bakeoff(written=written), folder.parent)
    return write_run(folder, evaluation())


def test_names_are_the_shortest_ends_that_differ(tmp_path):
    roots = [tmp_path / "a" / "softmax", tmp_path / "b" / "softmax"]
    assert run_names(roots) == ["a/softmax", "b/softmax"]
    assert run_names([tmp_path / "a", tmp_path / "b"]) == ["a", "b"]


def test_the_detector_of_a_bake_off_has_the_name_of_its_candidate(detector):
    run = detector.parents[1]
    assert run_names([run, detector]) == ["mine", "seesaw"]
    assert run_names([run.parent / "seesaw", detector]) == ["seesaw", "detector"]  # two runs, two names


def test_an_evaluation_from_before_the_detector_was_written(detector):
    evaluated = next(detector.glob("inference/*/evaluation.json")).stat().st_mtime
    os.utime(detector / "model_final.pth", (evaluated + 1, evaluated + 1))
    assert run_names([detector.parents[1], detector]) == ["mine", "detector"]


def test_a_bake_off_that_cannot_be_read(detector):
    (detector.parent / "bakeoff.json").write_text("{")
    assert run_names([detector.parents[1], detector]) == ["mine", "detector"]
