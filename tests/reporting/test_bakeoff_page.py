import io
import re

import msgspec
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Console

from lt_det.errors import LtDetError
from lt_det.evaluation.bakeoff_schema import Entry, Written
from lt_det.reporting.bakeoff import results_table, write_bakeoff_page
from lt_det.reporting.bakeoff.bars import bucket_bars, duration
from lt_det.reporting.bakeoff.class_gains import class_gains
from lt_det.reporting.bakeoff.learning_curves import learning_curves
from lt_det.reporting.bakeoff.planes import pareto_plane
from lt_det.reporting.bakeoff.results import result_columns, result_rows
from lt_det.reporting.bakeoff.selection import highlighted, ordered, pareto_front, shown
from lt_det.reporting.charts.base import chart_style
from lt_det.reporting.charts.point_labels import label_points
from lt_det.reporting.diagnosis import diagnosis_sections
from tests.helpers.bakeoffs import QUICK, TWO, UNSEEN, bakeoff, full
from tests.helpers.diagnosed import diagnosis
from tests.helpers.evaluations import AWKWARD


@pytest.fixture(scope="module")
def finished():
    return bakeoff()


@pytest.fixture(scope="module")
def page(finished, tmp_path_factory):
    """With awkward names: drawing a page takes a second or more, so that tests share it."""
    candidates = [
        msgspec.structs.replace(entry, name=AWKWARD) if entry.name == "ldam" else entry for entry in finished.candidates
    ]
    classes = [msgspec.structs.replace(finished.classes[0], name=AWKWARD), *finished.classes[1:]]
    content = msgspec.structs.replace(finished, candidates=candidates, classes=classes)
    folder = tmp_path_factory.mktemp("page") / "new"
    file = write_bakeoff_page(content, folder)
    assert [path.name for path in folder.iterdir()] == [file.name] == ["bakeoff.html"]
    return file.read_text()


@pytest.fixture(scope="module")
def waiting(finished):
    """Nothing has been evaluated, so that its page has no chart."""
    return bakeoff(pending=[entry.name for entry in finished.candidates if not entry.failed])


def page_of(content, folder, **options):
    return write_bakeoff_page(content, folder, **options).read_text()


def test_page(finished, page):
    heading = page.index("Recommended: seesaw")
    assert heading < page.index(finished.recommendation.reason) < page.index("Candidates</h2>")
    for text in (finished.recommendation.rule, *finished.limits, finished.recommendation.for_ap_only_reason):
        assert text.replace("'", "&#39;") in page
    for entry in finished.candidates:
        assert entry.name in page or entry.name == "ldam"
    assert finished.entry("cdt").failed in page
    assert len(re.findall("<svg", page)) >= 10
    assert "://" not in page.replace("http://www.w3.org", "")
    assert AWKWARD not in page
    assert page.count("<script>") == 1


def test_table_of_the_page(finished):
    rows = {row.name: row for row in result_rows(finished)}
    seesaw = dict(zip(result_columns(finished), rows["seesaw"].numbers, strict=True))
    entry = finished.entry("seesaw")
    assert seesaw["APr"].value == f"{entry.metrics['APr'].mean:.1f}"
    assert seesaw["APr"].beside == f"± {entry.metrics['APr'].deviation:.1f}"
    assert seesaw["APr"].below == "{:.1f} to {:.1f}".format(*entry.intervals["APr"])
    assert rows["seesaw"].badges == ["recommended"]
    assert rows["softmax as it stands"].numbers[0].beside == ""
    assert "LOSS.NAME seesaw" in rows["seesaw"].details
    assert "cdt" not in rows
    means = [ordered(finished.candidates)[place].mean("bucket mean") for place in range(len(rows))]
    assert means == sorted(means, reverse=True)


def test_a_difference_whose_interval_includes_0_is_soft(finished):
    number = len(result_columns(finished)) - 3
    for ends, soft in (([-0.1, 0.3], True), ([0.1, 0.3], False), ([-0.3, -0.1], False)):
        entry = finished.entry("ldam")
        delta = msgspec.structs.replace(entry.differences["bucket mean"], interval=ends)
        changed = msgspec.structs.replace(entry, differences={**entry.differences, "bucket mean": delta})
        candidates = [changed if other is entry else other for other in finished.candidates]
        rows = {row.name: row for row in result_rows(msgspec.structs.replace(finished, candidates=candidates))}
        assert rows["ldam"].numbers[number].soft is soft


def test_pareto_front():
    content = bakeoff(num_classes=40, specs=full(), seeds=1, draws=0)
    front = pareto_front(content)
    assert len(front) > 1
    points = {entry.name: (entry.mean("AP"), entry.mean("APr")) for entry in ordered(content.candidates)}
    for name, (ap, rare) in points.items():
        beaten = any(a >= ap and r >= rare and (a, r) != (ap, rare) for a, r in points.values())
        assert (name in [entry.name for entry in front]) != beaten
    values = [points[entry.name] for entry in front]
    assert values == sorted(values)


@pytest.mark.parametrize(
    ("division", "rarest", "panels"),
    [(UNSEEN, "rare", ["APr", "APc", "APf"]), (TWO, "few", ["AP-few", "AP-many"])],  # the unseen classes have no AP
)
def test_any_buckets(division, rarest, panels):
    content = bakeoff(num_classes=12, division=division, specs=QUICK[:4], draws=0)
    with chart_style():
        plane, bars = pareto_plane(content), bucket_bars(content)
    assert plane.title == f"AP and the bucket {rarest}"
    assert [panel.figure.axes[0].get_xlabel() for panel in bars.panels] == panels


def test_charts_show_those_that_the_page_speaks_of():
    content = bakeoff(num_classes=40, specs=full(), seeds=1, draws=0)
    names = [entry.name for entry in shown(content, 5)]
    assert len(names) == 5
    assert {content.recommendation.name, "softmax retrained", "softmax as it stands"} <= set(names)
    assert highlighted(content)[0].name == content.recommendation.name


def test_class_gains(finished):
    gains = class_gains(finished)
    assert gains[0].name == "seesaw"
    assert {found.name for found in gains} == {e.name for e in ordered(finished.candidates)} - {"softmax retrained"}
    before, after = (
        np.mean([np.array(seed.class_ap, dtype=float) for seed in finished.entry(name).seeds], axis=0)
        for name in ("softmax retrained", "seesaw")
    )
    best = int(np.nanargmax(after - before))
    assert gains[0].gained.rows[0][0] == finished.classes[best].name
    assert gains[0].gained.rows[0][2] == f"{np.nanmax(after - before):+.1f}"
    assert gains[0].summary.startswith(f"{np.sum(after > before)} of 61 classes gain")


def test_unfinished(waiting, finished, tmp_path):
    page = page_of(waiting, tmp_path)
    names = [entry.name for entry in finished.candidates if not entry.failed]
    assert "No recommendation yet" in page
    assert "Unfinished: 0 of 12 candidates" in page
    assert f"Not evaluated yet: {', '.join(names)}." in page
    assert finished.entry("cdt").failed in page
    assert "<svg" not in page


def test_what_a_bakeoff_may_lack(tmp_path):
    """Intervals, several seeds, curves, times, a baseline, folds."""
    content = bakeoff(num_classes=12, specs=QUICK[:4], seeds=1, draws=0)
    bare = [
        msgspec.structs.replace(
            entry, folds=[], seeds=[msgspec.structs.replace(seed, curve=[], seconds=0.0) for seed in entry.seeds]
        )
        for entry in content.candidates
        if entry.kind != "retrained"
    ]
    nothing = msgspec.structs.replace(content.recommendation, name=None, for_ap_only=None, for_ap_only_reason="")
    content = msgspec.structs.replace(content, candidates=bare, recommendation=nothing, agreement=None)
    page = page_of(content, tmp_path)
    assert "No recommendation" in page
    assert "AP and the bucket rare" in page
    for missing in ("Learning curves", "Cost", "Held-out folds and evaluation set", "All classes"):
        assert missing not in page


def test_written_checkpoint_and_diagnosis(waiting, tmp_path):
    written = Written(
        name="seesaw", config="out/config.yaml", checkpoint="out/model_seesaw.pth", metrics={"segm": {"AP": 12.34}}
    )
    measured = diagnosis()
    page = page_of(msgspec.structs.replace(waiting, written=written), tmp_path, diagnosis=measured)
    assert "--config out/config.yaml --eval-only" in page
    assert "Mask AP 12.3" in page
    for section in diagnosis_sections(measured):
        for finding in section.findings:
            assert finding.chart.title.replace("'", "&#39;") in page


def test_learning_curves_end_where_a_training_stopped_early(finished):
    entry = finished.entry("seesaw")
    folds = [msgspec.structs.replace(entry.folds[0], curve=entry.folds[0].curve[:5]), *entry.folds[1:]]
    alone = msgspec.structs.replace(finished, candidates=[msgspec.structs.replace(entry, folds=folds)])
    with chart_style():
        chart = learning_curves(alone)
    steps, values = chart.panels[0].figure.axes[0].lines[0].get_data()
    assert list(steps) == [point.step for point in entry.folds[0].curve[:5]]
    assert values[4] == pytest.approx(np.mean([fold.curve[4].held_out for fold in folds]))
    losses = chart.panels[1].figure.axes[0].lines[0].get_ydata()
    assert losses[0] == pytest.approx(1.0)


def test_labels_keep_clear_of_points_and_of_each_other():
    rng = np.random.default_rng(0)
    points = [(float(x), float(y)) for x, y in rng.random((60, 2))]
    with chart_style():
        figure = Figure(figsize=(6, 5), dpi=72)
        FigureCanvasAgg(figure)
        axes = figure.add_axes((0.1, 0.1, 0.85, 0.85))
        axes.set(xlim=(0, 1), ylim=(0, 1))
        label_points(axes, [(x, y, f"candidate {k}") for k, (x, y) in enumerate(points)], [(*at, 5) for at in points])
        boxes = [text.get_window_extent(figure.canvas.get_renderer()) for text in axes.texts]
        frame = axes.get_window_extent()
        centers = axes.transData.transform(points)
    assert 5 < len(boxes) < 60
    for index, box in enumerate(boxes):
        assert frame.x0 <= box.x0
        assert box.x1 <= frame.x1
        assert not any(box.contains(*center) for center in centers)
        # Descenders of neighbors may touch.
        assert not any(box.x0 < b.x1 and b.x0 < box.x1 and box.y0 + 2 < b.y1 - 2 and b.y0 + 2 < box.y1 - 2
                       for b in boxes[index + 1 :])  # fmt: skip


def test_table_of_the_terminal(finished):
    stream = io.StringIO()
    pending = Entry(name="later", kind="trained")
    content = msgspec.structs.replace(finished, candidates=[*finished.candidates, pending])
    Console(file=stream, width=120).print(results_table(content).to_rich())
    lines = stream.getvalue().splitlines()
    row = next(line for line in lines if "seesaw" in line)
    assert f"{finished.entry('seesaw').mean('APr'):.1f}" in row
    assert "baseline" in next(line for line in lines if "softmax retrained" in line)
    last = [line for line in lines if "cdt" in line or "later" in line]
    assert "failed" in last[0]
    assert "..." in last[1]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.26, "0.3 s"), (19.4, "19 s"), (119.6, "2 min 00 s"), (250, "4 min 10 s"), (7500, "2 h 05 min")],
)
def test_durations(seconds, words):
    assert duration(seconds) == words


def test_a_folder_that_cannot_be_written(waiting, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(LtDetError, match="file"):
        write_bakeoff_page(waiting, tmp_path / "file")
