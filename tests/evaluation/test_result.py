"""What `evaluate` returns: tables, dictionaries, files and data frames."""

import json
import math

import numpy as np
import pytest

from lt_det.evaluation import ClassResult, EvaluationResult
from lt_det.evaluation.schema import read_evaluation
from lt_det.reporting import write_report
from lt_det.statistics.buckets import FrequencyBuckets
from tests.helpers.evaluations import AWKWARD, evaluation, typed


@pytest.fixture
def result():
    content = evaluation(6, tasks=("bbox", "segm"))
    content["tasks"]["bbox"]["class_ap"][2] = None
    return EvaluationResult(
        typed(content), FrequencyBuckets(("rare", "common", "frequent"), np.zeros(6, dtype=np.int64))
    )


def test_text(result):
    lines = str(result).split("\n")
    assert lines[0] == "Boxes, synthetic_val (lvis protocol)"
    assert lines[1].split() == ["all", "AP50", "AP75", "rare", "common", "frequent"]
    assert lines[2].split()[:2] == ["AP", f"{result.metrics['bbox']['AP']:.1f}"]
    assert {len(line) for line in lines[1:7]} == {len(lines[1])}
    assert "Masks, synthetic_val (lvis protocol)" in lines
    assert repr(result) == str(result)


def test_notebook(result):
    markup = result._repr_html_()
    assert markup.count("<table>") == 2
    assert "<th>rare</th>" in markup


def test_numbers(result):
    content = result.to_dict()["tasks"]["bbox"]
    assert result.metrics["bbox"]["AP"] == content["metrics"]["AP"]
    assert math.isnan(result.metrics["bbox"]["APm"])
    assert result.intervals["bbox"]["AP"] == tuple(content["intervals"]["AP"])
    first, *_ = result.per_class["bbox"]
    assert first == ClassResult(1, AWKWARD, "rare", 1, 1, content["class_ap"][0], content["class_ar"][0])
    assert math.isnan(result.per_class["bbox"][2].ap)
    assert [entry.name for entry in result.per_class["segm"]] == [entry.name for entry in result.per_class["bbox"]]


def test_saved_for_the_report(result, tmp_path):
    file = result.save(tmp_path)
    assert file == tmp_path / "inference" / "synthetic_val" / "evaluation.json"
    assert read_evaluation(file).to_dict() == json.loads(file.read_text()) == result.to_dict()
    assert write_report(tmp_path).is_file()


def test_data_frames(result):
    pytest.importorskip("pandas")
    frame = result.to_dataframe()
    assert list(frame.columns) == ["task", "metric", "value", "low", "high"]
    row = frame[(frame.task == "segm") & (frame.metric == "AP")].iloc[0]
    assert (row.value, row.low) == (result.metrics["segm"]["AP"], result.intervals["segm"]["AP"][0])
    classes = result.per_class_frame()
    assert len(classes) == 12
    assert classes.ap.isna().sum() == 1
