"""report.html and the files beside it: content, what is left out, escaping, and that nothing is fetched."""

import csv
import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from rich.console import Console

from lt_det.errors import LtDetError
from lt_det.evaluation.schema import read_evaluation
from lt_det.reporting import write_report
from lt_det.reporting.html import render_page
from lt_det.reporting.view_model import evaluation_section
from tests.helpers.evaluations import AWKWARD, evaluation, write_run

QUIET = Console(quiet=True)
SECTIONS = ["Buckets", "Classes by training images", "Errors", "Precision and recall", "Score calibration", "Classes"]


class Reader(HTMLParser):
    """Headings, ids, tags, labels, and everything that a browser would fetch."""

    def __init__(self, page):
        super().__init__()
        self.headings, self.ids, self.fetched, self.tags, self.labels = [], [], [], [], []
        self.within = ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.within = tag
        self.tags.append(tag)
        for key, value in attributes:
            if key == "id":
                self.ids.append(value)
            if key == "aria-label":
                self.labels.append(value)
            if key in ("src", "href", "srcset", "action", "data", "xlink:href"):
                self.fetched.append(value)

    def handle_data(self, data):
        if self.within in ("h2", "h3") and data.strip():
            self.headings.append(data.strip())


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A run with its report."""
    run = write_run(tmp_path_factory.mktemp("report") / "softmax", evaluation())
    write_report(run, QUIET)
    return run


def is_data(target):
    return target.startswith("data:")


def page_of(run):
    """The page alone, without the files beside it."""
    folder = run / "inference" / "synthetic_val"
    content = read_evaluation(folder / "evaluation.json")
    sections = [evaluation_section(content, task, f"set_{task}", folder) for task in content.tasks]
    return render_page("report.html", name="a run", sections=sections)


def rewrite(run, content):
    (run / "inference" / "synthetic_val" / "evaluation.json").write_text(json.dumps(content))


def test_every_section_and_file_is_there(written):
    found = Reader((written / "report" / "report.html").read_text())
    assert [heading for heading in found.headings if heading in SECTIONS] == SECTIONS
    assert len(found.ids) == len(set(found.ids))
    assert sum(label.endswith(("rare", "common", "frequent")) for label in found.labels) == 62
    assert found.tags.count("tr") == 63
    charts = {"buckets", "errors", "calibration", *(f"precision_recall_{iou}" for iou in ("50", "75", "mean"))}
    assert {path.name for path in (written / "report").iterdir()} == {
        "report.md", "report.json", "report.html", "per_class.csv", "synthetic_val_bbox.png",
        *(f"synthetic_val_bbox_{chart}.svg" for chart in charts),
    }  # fmt: skip


def test_numbers_and_intervals(written):
    content = evaluation()["tasks"]["bbox"]
    page, markdown = ((written / "report" / name).read_text() for name in ("report.html", "report.md"))
    low, high = content["intervals"]["APr"]
    assert f"<dt>APr</dt><dd>{content['metrics']['APr']:.1f}<small>{low:.1f} to {high:.1f}</small></dd>" in page
    assert "<dt>APm</dt><dd>n/a</dd>" in page
    assert re.search(rf"\| 95 % from \|.*\| {low:.1f} \|", markdown)
    assert f"| miss | {content['errors']['loss']['all']['miss']:.1f} |" in markdown


def test_json_and_csv(written):
    content = evaluation()
    (numbers,) = json.loads((written / "report" / "report.json").read_text())
    assert numbers["tasks"]["bbox"]["resamples"] == {"seed": 0, "images": "a3f1"}
    assert numbers["tasks"]["bbox"]["class_ap"] == content["tasks"]["bbox"]["class_ap"]
    with open(written / "report" / "per_class.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 62
    assert rows[0]["class"] == AWKWARD
    assert (rows[5]["set"], rows[5]["task"], rows[5]["id"], rows[5]["bucket"]) == ("synthetic_val", "bbox", "6", "rare")
    assert float(rows[5]["AP"]) == content["tasks"]["bbox"]["class_ap"][5]
    assert float(rows[5]["lost_to_miss"]) == content["tasks"]["bbox"]["errors"]["class_loss"]["miss"][5]


@pytest.mark.parametrize(
    ("key", "heading"),
    [("errors", "Errors"), ("calibration", "Score calibration"), ("precision_recall", "Precision and recall")],
)
def test_a_section_without_data_is_left_out(run, key, heading):
    content = evaluation()
    content["tasks"]["bbox"][key] = None
    rewrite(run, content)
    found = Reader(page_of(run))
    assert [name for name in SECTIONS if name not in found.headings] == [heading]


def test_an_older_file_has_a_page_too(tmp_path):
    content = evaluation()
    task = content["tasks"]["bbox"]
    for key in set(task) - {"metrics", "bucket_sizes", "class_ap"}:
        del task[key]
    for key in ("num_images", "ground_truth", "image_root", "results"):
        del content[key]
    for entry in content["classes"]:
        del entry["id"], entry["objects"]
    page = page_of(write_run(tmp_path, content))
    found = Reader(page)
    assert [name for name in SECTIONS if name in found.headings] == ["Buckets", "Classes by training images", "Classes"]
    assert "interval" not in re.sub(r"<(style|script)>.*?</\1>", "", page, flags=re.S)
    assert "the evaluation does not name its ground_truth and image_root and results" in page


def test_empty_parts(run):
    """A bucket without classes, an entry that is null, no training counts."""
    content = evaluation()
    task = content["tasks"]["bbox"]
    task["metrics"]["APr"] = task["intervals"]["APr"] = task["precision_recall"]["rare"] = None
    task["errors"]["loss"]["rare"] = task["calibration"]["groups"]["rare"] = None
    task["bucket_sizes"]["rare"] = 0
    for entry in content["classes"]:
        entry["images"] = None
        entry["bucket"] = None if entry["bucket"] == "rare" else entry["bucket"]
    rewrite(run, content)
    found = Reader(page_of(run))
    assert "Classes by training images" not in found.headings
    assert "Score calibration" in found.headings


def test_names_are_escaped_everywhere(run):
    content = evaluation()
    content["dataset"] = content["buckets"]["names"][0] = AWKWARD
    for entry in content["classes"]:
        entry["bucket"] = AWKWARD if entry["bucket"] == "rare" else entry["bucket"]
    task = content["tasks"]["bbox"]
    task["metrics"][f"AP-{AWKWARD}"] = task["metrics"].pop("APr")
    task["bucket_sizes"][AWKWARD] = task["bucket_sizes"].pop("rare")
    for part in (task["precision_recall"], task["errors"]["loss"], task["calibration"]["groups"]):
        part[AWKWARD] = part.pop("rare")
    rewrite(run, content)
    page = page_of(run)
    found = Reader(page)
    assert page.count("<script>") == 1
    assert "alert(1)&lt;/script&gt;" in page
    # The label of its point has the whole name.
    assert any(label.startswith(f"{AWKWARD}: AP ") for label in found.labels)


def test_nothing_is_fetched(written):
    page = (written / "report" / "report.html").read_text()
    found = Reader(page)
    assert all(target in {f"#{name}" for name in found.ids} or is_data(target) for target in found.fetched)
    assert "@import" not in page
    assert "default-src 'none'" in page
    assert set(re.findall(r"url\(([^)]*)\)", page)) <= {f"#{name}" for name in found.ids}


def test_figures_are_files_of_their_own(written):
    for file in (written / "report").glob("*.svg"):
        drawing = file.read_text()
        assert ElementTree.fromstring(drawing).tag == "{http://www.w3.org/2000/svg}svg"
        assert "var(" not in drawing
        assert "#d55e00" in drawing


def test_1203_classes_fit(tmp_path):
    page = page_of(write_run(tmp_path, evaluation(1203, tasks=("bbox", "segm"))))
    assert len(page.encode()) < 3e6
    assert Reader(page).tags.count("tr") == 2 * 1204


@pytest.mark.parametrize(
    "damage",
    [
        lambda task: task["class_ap"].pop(),
        lambda task: task.update(class_ap="0"),
        lambda task: task["metrics"].pop("APf"),
        lambda task: task["metrics"].update(AP="high"),
        lambda task: task["metrics"].update(AP=float("nan")),
        lambda task: task.update(intervals=[1, 2]),
        lambda task: task["intervals"].update(AP=[1]),
        lambda task: task["resamples"].pop("images"),
        lambda task: task["precision_recall"].pop("rare"),
        lambda task: task["precision_recall"]["rare"]["0.5"].pop(),
        lambda task: task["errors"]["class_loss"].pop("miss"),
        lambda task: task["errors"]["loss"]["all"].pop("miss"),
        lambda task: task["calibration"]["groups"]["all"]["score"].pop(),
        lambda task: task.update(calibration=5),
    ],
)
def test_damaged_parts(run, damage):
    content = evaluation()
    damage(content["tasks"]["bbox"])
    rewrite(run, content)
    with pytest.raises(LtDetError, match=r"evaluation\.json is not an evaluation written by lt_det \(.+\); evaluate"):
        write_report(run, QUIET)
    assert not (run / "report").exists()


def test_full_disk(run, monkeypatch):
    def full(self, *_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(LtDetError, match=r"cannot be written to .*report \(No space left on device\)"):
        write_report(run, QUIET)
