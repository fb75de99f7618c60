"""Charts of their own: the colors of the page, unique ids, awkward names, and the same file every time."""

import re
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

from lt_det.reporting import charts
from lt_det.reporting.bucket_style import DARK, LIGHT
from lt_det.reporting.charts import report_charts
from lt_det.reporting.charts.base import Chart, Panel
from lt_det.reporting.charts.class_counts import plot_class_counts
from lt_det.reporting.charts.differences import difference_chart
from lt_det.reporting.charts.render import inline_svg, write_figure
from lt_det.reporting.comparison.differences import metric_differences
from lt_det.reporting.view_model import evaluation_section
from lt_det.statistics.buckets import FrequencyBuckets
from lt_det.statistics.class_stats import ClassStats
from tests.helpers.evaluations import evaluation, typed, typed_task

SVG = "{http://www.w3.org/2000/svg}"


def panels(content, task="bbox"):
    return [panel for chart in report_charts(typed(content), task) for panel in chart.panels]


def inline(panel, key="val_bbox"):
    """The markup, and the same parsed as XML."""
    drawing = str(inline_svg(panel, key))
    namespaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return drawing, ElementTree.fromstring(drawing.replace("<svg ", f"<svg {namespaces} ", 1))


def renamed(content, old, new):
    """The evaluation with another name for one of its buckets."""
    names = content["buckets"]["names"]
    names[names.index(old)] = new
    for entry in content["classes"]:
        entry["bucket"] = new if entry["bucket"] == old else entry["bucket"]
    for task in content["tasks"].values():
        task["metrics"][f"AP-{new}"] = task["metrics"].pop("AP" + old[0])
        for part in (
            task["bucket_sizes"], task["precision_recall"], task["errors"]["loss"], task["calibration"]["groups"]
        ):  # fmt: skip
            part[new] = part.pop(old)
    return content


def test_every_color_of_an_inline_chart_is_the_pages():
    content = evaluation()
    first, other = (typed_task(each["tasks"]["bbox"]) for each in (content, evaluation(seed=1)))
    shown = [*panels(content), difference_chart(metric_differences(first, other))]
    assert len(shown) == 8
    for panel in shown:
        drawing, _ = inline(panel)
        assert re.findall(r"#[0-9a-fA-F]{6}\b|rgb\(", drawing) == []
        used = set(re.findall(r"var\(--(\w+)\)", drawing))
        assert {"ink", "soft"} <= used <= LIGHT.keys() & DARK.keys()


def test_text_has_the_font_of_the_page():
    for panel in panels(evaluation()):
        drawing, tree = inline(panel)
        assert "font-family" not in drawing
        assert tree.findall(f".//{SVG}text")


@pytest.mark.parametrize("key", ["val_bbox", "val ü (2)_bbox", "<b>\"&'"])
def test_ids_of_a_page_are_unique_and_found(key):
    ids = []
    for panel in panels(evaluation()):
        drawing, tree = inline(panel, key)
        mine = [element.get("id") for element in tree.iter() if element.get("id")]
        assert set(re.findall(r"url\(#([^)]*)\)", drawing)) <= set(mine)
        ids += mine
    assert len(ids) == len(set(ids))


def test_points_are_labeled_in_the_order_of_training_images():
    content = evaluation()
    (panel,) = (panel for panel in panels(content) if panel.point_labels)
    _, tree = inline(panel)
    labels = [element.get("aria-label") for element in tree.iter(f"{SVG}g") if element.get("class") == "point"]
    images = [int(re.search(r"(\d+) training image", label)[1]) for label in labels]
    assert labels == list(panel.point_labels)
    assert images == sorted(entry["images"] for entry in content["classes"])
    assert "class_40: AP " in " ".join(labels)


@pytest.mark.parametrize("num_classes", [3, 1203])
def test_a_point_for_each_class_with_an_ap(num_classes):
    content = evaluation(num_classes)
    (panel,) = (panel for panel in panels(content) if panel.point_labels)
    drawing, _ = inline(panel)
    known = sum(ap is not None for ap in content["tasks"]["bbox"]["class_ap"])
    assert drawing.count('class="point"') == known == len(panel.point_labels)
    assert drawing.count("</g>") == drawing.count("<g ") + drawing.count("<g>")


def test_a_label_belongs_to_the_point_at_its_place():
    content = evaluation(1203)
    (panel,) = (panel for panel in panels(content) if panel.point_labels)
    _, tree = inline(panel)
    axes, height, compared = panel.figure.axes[0], panel.figure.bbox.height, 0
    for element in tree.iter(f"{SVG}g"):
        mark = element.find(f".//{SVG}use") if element.get("class") == "point" else None
        if mark is not None:
            ap, images = re.search(r": AP ([\d.]+), (\d+) training image", element.get("aria-label")).groups()
            x, y = axes.transData.transform((float(images), float(ap)))
            assert float(mark.get("x")) == pytest.approx(x, abs=0.01)
            assert height - float(mark.get("y")) == pytest.approx(y, abs=0.3)  # a label rounds AP to one decimal
            compared += 1
    assert compared > 1000


@pytest.mark.parametrize("name", ["$x_1$ $", "_hidden", "[b]", "杯子", "#d55e00", "a < b & c"])
def test_a_bucket_of_any_name_is_shown_as_it_is(name):
    shown = 0
    for panel in panels(renamed(evaluation(), "rare", name)):
        _, tree = inline(panel)
        words = [element.text.strip("\u200b") for element in tree.iter(f"{SVG}text") if element.text]
        shown += any(word == name or word.startswith(f"{name}: ECE") for word in words)
    assert shown == 7


def test_a_class_name_with_dollars_is_not_mathematics():
    content = evaluation()
    content["classes"][3]["name"] = "$\\frac{1}$"
    (panel,) = (panel for panel in panels(content) if panel.point_labels)
    assert "$\\frac{1}$: AP" in inline(panel)[0]


def test_the_same_evaluation_gives_the_same_files(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        for panel in panels(evaluation()):
            write_figure(panel, tmp_path / folder / f"{panel.name}{panel.file_end or '.svg'}")
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes(), file.name
    one, other = (inline(panels(evaluation())[0])[0] for _ in range(2))
    assert one == other


def test_the_users_style_and_settings_are_left_alone(tmp_path):
    expected = inline(panels(evaluation())[0])[0]
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "#123456", "lines.linewidth": 9}):
        before = dict(matplotlib.rcParams)
        assert inline(panels(evaluation())[0])[0] == expected
        stats = ClassStats(tuple("abc"), np.array([5, 50, 500]), None, 500, "test")
        plot_class_counts(stats, FrequencyBuckets.from_edges(stats), tmp_path / "a.png", "test")
        assert dict(matplotlib.rcParams) == before


def test_a_chart_of_ones_own_is_one_function_and_one_line(monkeypatch, tmp_path):
    def mine(content, task):
        figure = Figure()
        figure.add_subplot().plot([1, 2], color=LIGHT["c2"])
        return Chart("Mine", (Panel("mine", "two points", figure),), f"AP50 is {content.tasks[task].metrics['AP50']}")

    monkeypatch.setattr(charts, "REPORT_CHARTS", (*charts.REPORT_CHARTS, mine))
    section = evaluation_section(typed(evaluation()), "bbox", "val_bbox", tmp_path)
    assert [chart.title for chart in section.charts][-1] == "Mine"
