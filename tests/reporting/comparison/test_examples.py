"""Objects that one run finds and another does not: which, how they are shown, and what is said if files are missing."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from lt_det.cli import main
from lt_det.evaluation import evaluate
from lt_det.reporting import write_comparison
from lt_det.reporting.comparison.examples import EvaluatedRun, FoundCounts, found_by_one
from tests.helpers.evaluations import AWKWARD, evaluation, typed, write_run

RESULTS = "instances_predictions.json"
BOX, ELSEWHERE = [40.0, 50.0, 100.0, 80.0], [300.0, 300.0, 9.0, 9.0]
FREQUENT = 62  # category id
RARE = range(1, 7)  # category ids; the first six classes are rare, with ascending numbers of training images


@pytest.fixture
def write(tmp_path):
    """Writes a run that finds the objects of some categories; each has one object, in the image of the same number."""
    content = evaluation()
    rare = [entry["id"] for entry in content["classes"] if entry["bucket"] == "rare"]
    assert rare[:6] == list(RARE)
    for entry in content["classes"]:
        entry["bucket"] = "rare" if entry["id"] in RARE else "frequent"
    root = tmp_path / "images"
    root.mkdir()
    ids = [entry["id"] for entry in content["classes"]]
    for number in RARE:
        Image.new("RGB", (640, 480), (90, 120, 60)).save(root / f"{number}.jpg")
    truth = tmp_path / "val.json"
    images = [{"id": i, "width": 640, "height": 480, "file_name": f"{i}.jpg"} for i in ids]
    annotations = [{"id": i, "image_id": i, "category_id": i, "bbox": BOX} for i in ids]
    categories = [{"id": entry["id"], "name": entry["name"]} for entry in content["classes"]]
    truth.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    content |= {"ground_truth": str(truth), "image_root": str(root), "results": RESULTS}

    def of(name, found, scale=1.0, change=lambda detections: detections):
        detections = []
        for i in ids:
            right, wrong = (i, FREQUENT) if i in found else (FREQUENT, i)
            detections.append({"image_id": i, "category_id": right, "bbox": BOX, "score": 0.75 * scale})
            detections.append({"image_id": i, "category_id": wrong, "bbox": ELSEWHERE, "score": 0.5 * scale})
        run = write_run(tmp_path / name, content)
        folder = run / "inference" / "synthetic_val"
        (folder / RESULTS).write_text(json.dumps(change(detections)))
        return EvaluatedRun(name, typed(content), folder)

    return of


def names(pairs):
    return [pair[0].name.split(",")[0] for pair in pairs]


def test_results_that_another_detector_has_replaced(tmp_path):
    """Two detectors that write the same results file, evaluated one after the other."""
    images = [{"id": i, "width": 640, "height": 480, "file_name": f"{i}.jpg"} for i in RARE]
    annotations = [{"id": i, "image_id": i, "category_id": 1, "bbox": BOX} for i in RARE]
    truth = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "cup"}]}
    (tmp_path / "val.json").write_text(json.dumps(truth))
    results, runs = tmp_path / "results.json", []
    for number in (2, 5):
        found = [{"image_id": i, "category_id": 1, "bbox": BOX, "score": i / 8} for i in RARE[:number]]
        results.write_text(json.dumps(found))
        result = evaluate(tmp_path / "val.json", results)
        runs.append(EvaluatedRun(str(number), result.evaluation, result.save(tmp_path / str(number)).parent))
    (shown,) = found_by_one(*runs[1:], runs[:1])
    assert shown.table is None
    assert f"{results} is not the file that was evaluated" in shown.missing
    (shown,) = found_by_one(runs[1], runs[1:])
    assert shown.counts["all"].first == 5


def test_objects_that_one_run_finds(write):
    first, other = write("softmax", {2, 4, 6}), write("seesaw", {3, 6, FREQUENT}, scale=0.01)
    (found,) = found_by_one(first, [other])
    assert found.counts["rare"] == FoundCounts(objects=6, first=3, other=2, only_first=2, only_other=1)
    # Whoever says "class 62" everywhere finds its object.
    assert found.counts["frequent"] == FoundCounts(objects=56, first=1, other=1, only_first=0, only_other=0)
    assert found.counts["all"] == FoundCounts(objects=62, first=4, other=3, only_first=2, only_other=1)
    assert list(found.counts) == ["all", "rare", "frequent"]
    assert found.table.rows[1] == ["rare", "6", "3", "2", "2", "1"]
    assert (found.bucket, found.missing) == ("rare", "")
    assert names(found.gained) == ["class_2"]
    assert names(found.lost) == ["class_1", "class_3"]
    assert [one.caption for one in found.gained[0]] == [
        "softmax: class_61, score 0.75",
        "seesaw: class_2, score 0.0075",
    ]
    assert [one.caption for one in found.lost[0]] == ["softmax: class_1, score 0.75", "seesaw: class_61, score 0.0075"]
    # The same rule for both directions.
    (swapped,) = found_by_one(other, [first])
    assert swapped.gained == tuple(pair[::-1] for pair in found.lost)
    assert swapped.lost == tuple(pair[::-1] for pair in found.gained)


def test_the_rarest_four_classes_are_shown(write):
    (found,) = found_by_one(write("softmax", ()), [write("seesaw", RARE)])
    assert found.counts["rare"].only_other == 6
    assert names(found.gained) == [AWKWARD, "class_1", "class_2", "class_3"]
    assert found.lost == ()


def test_a_higher_score_of_another_class_and_no_detection(write):
    def change(detections):
        kept = [d for d in detections if d["image_id"] != 3]
        return [*kept, {"image_id": 2, "category_id": FREQUENT, "bbox": BOX, "score": 0.9}]

    (found,) = found_by_one(write("softmax", RARE, change=change), [write("seesaw", RARE)])
    captions = [pair[0].caption for pair in found.gained]
    assert captions == ["softmax: class_61, score 0.90", "softmax: no detection"]


def test_classes_without_buckets(write):
    first, other = write("softmax", {2}), write("seesaw", {2, 3})
    content = json.loads((first.folder / "evaluation.json").read_text())
    for entry in content["classes"]:
        entry["bucket"] = None
    shutil.copy(Path(content["image_root"], "1.jpg"), Path(content["image_root"], "62.jpg"))
    runs = [EvaluatedRun(run.name, typed(content), run.folder) for run in (first, other)]
    (found,) = found_by_one(runs[0], runs[1:])
    assert (found.bucket, list(found.counts)) == ("", ["all"])
    assert (found.counts["all"].objects, found.counts["all"].only_other) == (62, 1)
    assert names(found.gained) == ["class_2"]


def test_on_the_page_and_in_the_files(write, tmp_path, capsys):
    runs = [run.folder.parents[1] for run in (write("softmax", {2, 4, 6}), write("seesaw", {3, 6}))]
    assert main(["compare", *map(str, runs), "--out", str(tmp_path / "out")]) == 0
    page = (tmp_path / "out" / "compare.html").read_text()
    assert page.count("data:image/jpeg") == 6
    assert len(page) < 400_000
    numbers = json.loads((tmp_path / "out" / "compare.json").read_text())["comparisons"][0]["pairs"][0]
    assert numbers["objects_found"]["rare"]["only_other"] == 1
    assert "| rare | 6 | 3 | 2 | 2 | 1 |" in (tmp_path / "out" / "compare.md").read_text()
    *_, headline, where = capsys.readouterr().out.splitlines()
    assert headline.startswith("APr: softmax ")
    assert "95 % interval" in headline
    assert where.endswith("compare.html")


@pytest.mark.parametrize(
    ("damage", "sentence", "has_counts"),
    [
        (lambda run, root: shutil.rmtree(root), "does not exist", True),
        (lambda run, root: (root / "2.jpg").write_text("not an image"), "cannot identify image file", True),
        (lambda run, root: (run.folder / RESULTS).unlink(), "does not exist", False),
        (lambda run, root: (run.folder / RESULTS).write_text("{}"), "not a list of detections", False),
        (lambda run, root: (root.parent / "val.json").unlink(), "does not exist", False),
    ],
)
def test_a_sentence_where_something_is_missing(write, tmp_path, damage, sentence, has_counts):
    first, other = write("softmax", {2}), write("seesaw", {3})
    damage(other, tmp_path / "images")
    (found,) = found_by_one(first, [other])
    assert found.missing.startswith("No example images: ")
    assert sentence in found.missing
    assert bool(found.counts) == has_counts
    assert not found.gained
    roots = [run.folder.parents[1] for run in (first, other)]
    page = write_comparison(roots, tmp_path / "out", Console(quiet=True)).read_text()
    assert sentence in page
    assert "data:image/jpeg" not in page


def test_other_categories_than_those_of_the_evaluation(write, tmp_path):
    first, other = write("softmax", {2}), write("seesaw", {3})
    truth = json.loads((tmp_path / "val.json").read_text())
    truth["categories"].append({"id": 63, "name": "new"})
    (tmp_path / "val.json").write_text(json.dumps(truth))
    (found,) = found_by_one(first, [other])
    assert "val.json" in found.missing


def test_image_outside_the_image_folder(write, tmp_path):
    first, other = write("softmax", {2}), write("seesaw", {3})
    truth = json.loads((tmp_path / "val.json").read_text())
    for image in truth["images"]:
        image["file_name"] = "../secret.jpg"
    (tmp_path / "val.json").write_text(json.dumps(truth))
    Image.new("RGB", (640, 480)).save(tmp_path / "secret.jpg")
    (found,) = found_by_one(first, [other])
    assert "--outside-images" in found.missing
    (found,) = found_by_one(first, [other], outside_images=True)
    assert len(found.gained) == 1
