"""Tables and files of a report. Figures are checked for being written and not blank; people look at them."""

import io
import json
import re
import shutil

import cv2
import numpy as np
import pytest
from rich.console import Console

from lt_det.errors import LtDetError
from lt_det.reporting import write_comparison, write_report
from lt_det.reporting.charts.class_counts import plot_class_counts
from lt_det.reporting.tables import TextTable, class_count_tables
from lt_det.statistics.buckets import FrequencyBuckets
from lt_det.statistics.class_stats import ClassStats

EVALUATION = {
    "dataset": "cups",
    "protocol": "coco",
    "buckets": {"names": ["rare", "common", "frequent"], "by": "images", "edges": [10, 100]},
    "classes": [
        {"name": "espresso | cup", "bucket": "rare", "images": 3},
        {"name": "mug", "bucket": "frequent", "images": 300},
        {"name": "unseen", "bucket": "frequent", "images": 120},
    ],
    "tasks": {
        "bbox": {
            "metrics": {
                "AP": 30.04, "AP50": 50.0, "AP75": 25.0, "APs": None, "APm": 1.0, "APl": 2.0,
                "APr": 0.0, "APc": None, "APf": 60.08,
            },
            "bucket_sizes": {"rare": 1, "common": 0, "frequent": 1},
            "class_ap": [0.0, 60.08, None],
        }
    },
}  # fmt: skip


def not_blank(path):
    return cv2.imread(str(path)).std() > 5


@pytest.fixture
def output(tmp_path):
    folder = tmp_path / "inference" / "cups"
    folder.mkdir(parents=True)
    (folder / "evaluation.json").write_text(json.dumps(EVALUATION))
    return tmp_path


def test_report(output):
    text = io.StringIO()
    report = write_report(output, Console(file=text, width=120))
    markdown = report.read_text()
    assert "|  | all | AP50 | AP75 | rare | frequent |" in markdown
    assert "| AP | 30.0 | 50.0 | 25.0 | 0.0 | 60.1 |" in markdown
    assert "| classes | 2 | 2 | 2 | 1 | 1 |" in markdown
    assert "| mug | 60.1 | 300 | frequent |" in markdown
    assert "unseen" not in markdown
    assert r"| espresso \| cup | 0.0 | 3 | rare |" in markdown
    assert "rare" in text.getvalue()
    assert "n/a" not in text.getvalue()  # no class is common
    assert not_blank(report.parent / "cups_bbox.png")


def test_a_dataset_whose_name_has_a_slash(tmp_path):
    """As of a dataset of a team; copies of evaluations that lie deeper are left out."""
    run = tmp_path / "run"
    for name in ("cups", "team/cups", "cups/old", "broken/copy"):
        folder = run / "inference" / name
        folder.mkdir(parents=True)
        content = EVALUATION | {"dataset": "cups" if name == "cups/old" else name}
        (folder / "evaluation.json").write_text("{" if name == "broken/copy" else json.dumps(content))
    report = write_report(run, Console(quiet=True))
    assert re.findall("^## (.*)$", report.read_text(), re.MULTILINE) == ["cups", "team/cups"]
    assert not_blank(report.parent / "team_cups_bbox.png")
    other = tmp_path / "other"
    shutil.copytree(run, other)
    page = write_comparison([run, other], tmp_path / "compared", console=Console(quiet=True))
    assert "team/cups" in page.read_text()


def test_nothing_to_report(tmp_path):
    with pytest.raises(LtDetError, match=r"has no inference/\*/evaluation\.json; train there first"):
        write_report(tmp_path)


@pytest.mark.parametrize("inside", ["inference", "inference/cups", "inference/cups/evaluation.json"])
def test_a_file_in_the_folder_of_a_run(output, inside):
    with pytest.raises(LtDetError, match=f"{re.escape(str(output / inside))} is in the folder of a run; .* {output}"):
        write_report(output / inside)


def test_names_are_not_markup(output):
    text = io.StringIO()
    content = json.loads(json.dumps(EVALUATION))
    content["classes"][0]["name"] = "sign [red] [/b]"
    (output / "inference" / "cups" / "evaluation.json").write_text(json.dumps(content))
    write_report(output, Console(file=text, width=120))
    assert "sign [red] [/b]" in text.getvalue()


def test_report_that_cannot_be_written(output):
    (output / "report").touch()
    with pytest.raises(LtDetError, match="cannot be written"):
        write_report(output)


BROKEN_INSIDE = json.dumps({**EVALUATION, "tasks": {"bbox": {}}})


@pytest.mark.parametrize("content", ["{", "[]", '{"dataset": "x"}', BROKEN_INSIDE])
def test_foreign_file(output, content):
    (output / "inference" / "cups" / "evaluation.json").write_text(content)
    with pytest.raises(LtDetError, match=r"evaluation\.json is not an evaluation written by lt_det"):
        write_report(output)


def test_class_count_chart(tmp_path):
    stats = ClassStats(tuple("abcd"), np.array([0, 5, 50, 5000]), None, 5000, "test")
    plot_class_counts(stats, FrequencyBuckets.from_edges(stats), tmp_path / "counts.png", "test")
    assert not_blank(tmp_path / "counts.png")


def test_class_count_tables():
    stats = ClassStats(tuple("abcd"), np.array([0, 5, 50, 5000]), np.array([0, 6, 60, 6000]), 5000, "test")
    buckets, classes = class_count_tables(stats, FrequencyBuckets.from_edges(stats))
    assert list(map(list, buckets.rows)) == [
        ["unseen", "1", "0", "0"],
        ["rare", "1", "5", "6"],
        ["common", "1", "50", "60"],
        ["frequent", "1", "5000", "6000"],
    ]
    assert classes.rows[0] == ["d", "5000", "6000", "frequent"]


def test_markdown_of_awkward_names():
    text = TextTable("t", ["class", "AP"], [["a|b\n<c> & d", "1.0"]]).to_markdown()
    assert "| a\\|b &lt;c> &amp; d | 1.0 |" in text


def test_names_in_tables_are_not_markup():
    """Buckets of a map and runs may have any name."""
    text = io.StringIO()
    table = TextTable("[title]", ["", "AP-[rare]", "[/run]"], [["[class]", "1.0", "2.0"]])
    Console(file=text, width=80).print(table.to_rich())
    assert all(name in text.getvalue() for name in ("[title]", "AP-[rare]", "[/run]", "[class]"))
