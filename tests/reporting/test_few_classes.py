"""Reports of a few classes: buckets without a class, one bucket for all, names on charts."""

import copy
import io
import json

import msgspec
import numpy as np
import pytest
from rich.console import Console

from lt_det.evaluation.bakeoff_schema import Bakeoff
from lt_det.evaluation.schema import Buckets, ClassEntry, shown_buckets
from lt_det.reporting import write_comparison, write_report
from lt_det.reporting.bakeoff.page import write_bakeoff_page
from lt_det.reporting.bakeoff.results import results_table
from lt_det.reporting.charts.base import chart_style
from lt_det.reporting.charts.class_counts import plot_class_counts
from lt_det.reporting.charts.class_scatter import class_scatter
from lt_det.reporting.charts.class_ticks import MOST_NAMED, ClassTicks
from lt_det.reporting.overlays import score_words
from lt_det.reporting.tables import class_count_tables
from lt_det.statistics.buckets import FrequencyBuckets
from lt_det.statistics.class_stats import ClassStats
from lt_det.statistics.counting import ClassCounter
from tests.helpers.bakeoffs import QUICK, bakeoff
from tests.helpers.evaluations import BUCKETS, evaluation, typed, write_run


def in_one_bucket(content):
    """The same evaluation with frequent classes only, as a set of three classes has."""
    content = copy.deepcopy(content)
    for k, entry in enumerate(content["classes"]):
        entry["bucket"], entry["images"] = "frequent", 200 + 10 * k
    for task in content["tasks"].values():
        task["bucket_sizes"] = {"rare": 0, "common": 0, "frequent": len(content["classes"])}
        for metric in ("APr", "APc", "ARr", "ARc"):
            task["metrics"][metric] = None
            task["intervals"].pop(metric, None)
            task["resamples"]["values"].pop(metric, None)
    return content


def entries(*buckets):
    return [ClassEntry(name=f"c{k}", bucket=bucket, images=1) for k, bucket in enumerate(buckets)]


@pytest.mark.parametrize(
    ("buckets", "shown"),
    [
        (("rare", "frequent", "frequent"), ["rare", "frequent"]),
        (("frequent", "frequent"), []),
        (("frequent", None), ["frequent"]),
        ((None, None), []),
        (("rare",), []),
    ],
)
def test_shown_buckets(buckets, shown):
    assert shown_buckets(BUCKETS, entries(*buckets)) == shown


def test_report_of_one_bucket(tmp_path):
    write_run(tmp_path, in_one_bucket(evaluation()))
    text = io.StringIO()
    report = write_report(tmp_path, Console(file=text, width=120))
    page = (report.parent / "report.html").read_text()
    for written in (text.getvalue(), report.read_text().replace("\\", ""), page):
        assert "--groups 3" in written
        assert "APr" not in written
        assert "APf" not in written
    assert ">Buckets<" not in page
    (numbers,) = json.loads((report.parent / "report.json").read_text())
    assert {"APr", "APc", "APf"} <= set(numbers["tasks"]["bbox"]["metrics"])  # scripts read them


def test_report_of_several_buckets_has_no_advice(tmp_path):
    write_run(tmp_path, evaluation())
    report = write_report(tmp_path, Console(file=io.StringIO(), width=120))
    assert "--groups" not in report.read_text()
    assert ">Buckets<" in (report.parent / "report.html").read_text()


def test_comparison_of_one_bucket(tmp_path):
    one = write_run(tmp_path / "one", in_one_bucket(evaluation()))
    two = write_run(tmp_path / "two", in_one_bucket(evaluation(seed=1)))
    text = io.StringIO()
    page = write_comparison([one, two], tmp_path / "out", Console(file=text, width=120))
    assert "--groups 3" in text.getvalue()
    assert "APr" not in text.getvalue()
    assert "APr" not in page.read_text()
    assert "--groups 3" in page.read_text()
    (comparison,) = json.loads((tmp_path / "out" / "compare.json").read_text())["comparisons"]
    assert {"APr", "APf"} <= set(comparison["pairs"][0]["metrics"])


def test_bakeoff_of_one_bucket(tmp_path):
    content = bakeoff(specs=QUICK[:3]).to_dict()
    for k, entry in enumerate(content["classes"]):
        entry["bucket"], entry["images"] = "frequent", 200 + k
    one = msgspec.convert(content, Bakeoff)
    page = write_bakeoff_page(one, tmp_path).read_text()
    assert "--groups 3" in page
    assert "APr" not in page
    assert list(results_table(one).columns)[:3] == ["candidate", "AP", "against baseline"]


def test_distinct_images_of_a_bucket():
    """Two classes of one bucket share an image."""
    categories = [{"id": k, "name": f"c{k}"} for k in range(3)]
    counter = ClassCounter(categories, "here")
    pairs = ((1, 0), (1, 1), (2, 1), (3, 2), (4, 2), (4, 1))
    counter.add([{"id": n, "image_id": image, "category_id": k} for n, (image, k) in enumerate(pairs)])
    stats = ClassStats.from_counter(counter, "here")
    buckets = FrequencyBuckets.from_map(stats, {"c0": "a", "c1": "a", "c2": "b"})
    table, _ = class_count_tables(stats, buckets, counter.images_with)
    assert [list(row) for row in table.rows] == [["a", "2", "1 - 3", "3", "4"], ["b", "1", "2", "2", "2"]]
    assert list(table.columns)[-2:] == ["images", "instances"]
    without, _ = class_count_tables(stats, buckets)
    assert "images" not in without.columns


def texts_of(figure):
    figure.canvas.draw()
    (axes,) = figure.axes
    ticks = [label.get_text() for label in axes.get_xticklabels() if label.get_text()]
    return ticks, [text.get_text() for text in axes.texts]


@pytest.mark.parametrize("number", [1, 2, 3, 22, 62])
def test_names_and_whole_ticks_of_class_counts(tmp_path, number, monkeypatch):
    drawn = []
    monkeypatch.setattr("lt_det.reporting.charts.class_counts.save_bitmap", lambda figure, *_: drawn.append(figure))
    stats = ClassStats(tuple(f"class {k}" for k in range(number)), np.arange(number) + 200, None, 5000, "test")
    plot_class_counts(stats, FrequencyBuckets.from_edges(stats), tmp_path / "x.png", "test")
    with chart_style():
        ticks, _ = texts_of(drawn[0])
    if number <= MOST_NAMED:
        assert ticks == [f"class {k}" for k in reversed(range(number))]
    else:
        assert all(float(tick).is_integer() for tick in ticks)


def test_few_points_have_names():
    few = typed(evaluation())
    classes = entries("rare", "rare", "frequent")
    with chart_style():
        scatter = class_scatter(
            type("Few", (), {"buckets": Buckets(names=BUCKETS, by="images", edges=[10, 100]), "classes": classes}),
            [10.0, 50.0, 90.0],
            "AP",
        )
        _, names = texts_of(scatter.figure)
        _, of_many = texts_of(class_scatter(few, few.tasks["bbox"].class_ap, "AP").figure)
    assert sorted(names) == ["c0", "c1", "c2"]
    assert of_many == []


@pytest.mark.parametrize(("highest", "top"), [(0.0, 10), (4.0, 10), (16.4, 20), (50.0, 50), (50.1, 100), (90.0, 100)])
def test_low_ap_fills_the_chart(highest, top):
    few = type("Few", (), {"buckets": Buckets(names=BUCKETS, by="images", edges=[10, 100]), "classes": entries("rare")})
    with chart_style():
        scatter = class_scatter(few, [highest], "AP")
    assert scatter.figure.axes[0].get_ylim()[1] == pytest.approx(1.02 * top)


def test_long_names_stand_upright():
    short, long = ClassTicks(["a", "b"], 400), ClassTicks(["a name that is far too long"] * 20, 400)
    assert long.bottom > short.bottom


@pytest.mark.parametrize(
    ("score", "words"),
    [(0.5, "0.50"), (1.0, "1.00"), (0.0012, "0.0012"), (0.05, "0.05"), (0.00001, "below 0.0001"), (0.0, "0.00")],
)
def test_scores_in_words(score, words):
    assert score_words(score) == words
