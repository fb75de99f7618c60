"""An annotation format of a user's own: registered, counted, trained on, evaluated; never taken from a cache."""

import csv
import json

import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog

from lt_det.data import load_records, register_dataset, register_format, training_stats
from lt_det.data.cache import record_cache
from lt_det.data.formats import FORMATS
from lt_det.doctor.config_checks import examine_config
from lt_det.errors import LtDetError
from lt_det.evaluation.evaluator import LongTailEvaluator
from lt_det.training import LongTailTrainer, load_config
from tests.helpers import REPOSITORY, first_images


@register_format("boxes_csv")
def read_boxes(path):
    """A line of a box: image, height, width, file, class, x, y, w, h; and the class names in a file beside."""
    with path.open() as file:
        rows = list(csv.reader(file))
    images = {
        row[0]: {"id": int(row[0]), "height": int(row[1]), "width": int(row[2]), "file_name": row[3]} for row in rows
    }
    annotations = [
        {"id": n, "image_id": int(row[0]), "category_id": int(row[4]), "bbox": [float(v) for v in row[5:]]}
        for n, row in enumerate(rows)
    ]
    names = path.with_suffix(".names").read_text().split()
    categories = [{"id": k, "name": name} for k, name in enumerate(names)]
    return {"images": list(images.values()), "annotations": annotations, "categories": categories}


@register_format("many_files")
def read_folder(path):
    """A folder of parts of a json."""
    return {part.stem: json.loads(part.read_text()) for part in sorted(path.glob("*.json"))}


@register_format("broken")
def read_nothing(path):
    raise ZeroDivisionError("no lines")


@pytest.fixture(autouse=True)
def cached(tmp_path, monkeypatch):
    """Files of any size would go into the cache."""
    monkeypatch.setattr(record_cache, "WORTH_CACHING", 0)
    monkeypatch.setenv("LT_DET_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def same(mini, tmp_path):
    """The same images and boxes as json and as csv; the csv knows no masks and no federated lists."""
    data = first_images(mini.train_json, 20)
    data["annotations"].sort(key=lambda annotation: annotation["image_id"])
    categories = sorted(data["categories"], key=lambda category: category["id"])
    contiguous = {category["id"]: k for k, category in enumerate(categories)}
    images = {image["id"]: image for image in data["images"]}
    with (tmp_path / "boxes.csv").open("w") as file:
        for a in data["annotations"]:
            image = images[a["image_id"]]
            row = [image["id"], image["height"], image["width"], image["file_name"], contiguous[a["category_id"]]]
            csv.writer(file).writerow([*row, *a["bbox"]])
    (tmp_path / "boxes.names").write_text(" ".join(category["name"] for category in categories))
    (tmp_path / "boxes.json").write_text(json.dumps(read_boxes(tmp_path / "boxes.csv")))
    names = ("as_json", "as_csv")
    register_dataset("as_json", tmp_path / "boxes.json", mini.image_root)
    register_dataset("as_csv", tmp_path / "boxes.csv", mini.image_root, annotation_format="boxes_csv")
    yield names
    for name in names:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def test_records_and_counts_are_those_of_the_json(same, cached):
    as_json, as_csv = (load_records(name) for name in same)
    assert list(as_json) == list(as_csv)
    assert [file.name.split("-")[0] for file in cached.glob("*.records")] == ["as_json"]
    stats = [training_stats([name]) for name in same]
    assert stats[0].instance_counts.tolist() == stats[1].instance_counts.tolist()
    assert stats[0].names == stats[1].names


def test_evaluation_is_that_of_the_json(same, tmp_path):
    """Of detections that are the ground truth itself, each second one moved."""
    from detectron2.structures import Boxes, BoxMode, Instances

    metrics = []
    for name in same:
        evaluator = LongTailEvaluator(name, stats=training_stats([name]), output_dir=str(tmp_path / name))
        for record in load_records(name):
            found = Instances((record["height"], record["width"]))
            boxes = [BoxMode.convert(a["bbox"], a["bbox_mode"], BoxMode.XYXY_ABS) for a in record["annotations"]]
            found.pred_boxes = Boxes(torch.tensor(boxes) + torch.arange(len(boxes))[:, None] % 2 * 3)
            found.pred_classes = torch.tensor([a["category_id"] for a in record["annotations"]])
            found.scores = torch.linspace(0.9, 0.5, len(boxes))
            evaluator.process([record], [{"instances": found}])
        metrics.append(evaluator.evaluate()["bbox"])
    assert str(metrics[0]) == str(metrics[1])  # nan equals nan
    assert 0 < metrics[0]["AP"] < 100
    evaluation = json.loads((tmp_path / "as_csv" / "evaluation.json").read_text())
    assert evaluation["ground_truth"] is None  # it is no json that a report could read


def test_training_by_config(mini, same, tmp_path):
    (tmp_path / "config.yaml").write_text(f"""
_BASE_: {REPOSITORY}/configs/mini_lvis_eql.yaml
DATASETS:
  REGISTER:
    csv_train: {{JSON: {tmp_path}/boxes.csv, IMAGES: {mini.image_root}, ANNOTATION_FORMAT: boxes_csv}}
  TRAIN: ("csv_train",)
  TEST: ("csv_train",)
MODEL: {{ROI_HEADS: {{NUM_CLASSES: 12}}}}
DATALOADER: {{NUM_WORKERS: 0}}
INPUT: {{MIN_SIZE_TRAIN: [48], MIN_SIZE_TEST: 48}}
SOLVER: {{IMS_PER_BATCH: 4, MAX_ITER: 2, STEPS: [1], WARMUP_ITERS: 1}}
TEST: {{RESAMPLES: 0}}
OUTPUT_DIR: {tmp_path}/out
""")
    (tmp_path / "out").mkdir()
    cfg = load_config(str(tmp_path / "config.yaml"))
    trainer = LongTailTrainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    assert "bbox/AP" in (tmp_path / "out" / "metrics.json").read_text()
    fatal = [finding for finding in examine_config(str(tmp_path / "config.yaml")) if finding.fatal]
    assert fatal == []


def test_counts_follow_a_file_or_a_folder_that_changes(same, mini, tmp_path):
    """In this process, and beside the counts that an earlier process saved."""
    name = "in_parts"
    (tmp_path / "parts").mkdir()
    parts = json.loads((tmp_path / "boxes.json").read_text())
    for part, content in parts.items():
        (tmp_path / "parts" / f"{part}.json").write_text(json.dumps(content))
    register_dataset(name, tmp_path / "parts", mini.image_root, annotation_format="many_files")
    try:
        before = training_stats([name], cache_dir=str(tmp_path)).instance_counts.sum()
        (tmp_path / "parts" / "annotations.json").write_text(json.dumps(parts["annotations"][:-1]))
        assert training_stats([name], cache_dir=str(tmp_path)).instance_counts.sum() == before - 1
        saved = json.loads((tmp_path / "class_stats.json").read_text())
        assert sum(saved["instance_counts"]) == before - 1
    finally:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def test_saved_counts_serve_without_the_file_and_not_with_it(same, tmp_path, monkeypatch):
    """The reader may be another one than that of the process which counted."""
    before = training_stats(["as_csv"], cache_dir=str(tmp_path))
    monkeypatch.setattr("lt_det.data.class_counts._by_state", {})  # as in a new process
    shorter = dict(FORMATS, boxes_csv=lambda path: {**(d := read_boxes(path)), "annotations": d["annotations"][:-1]})
    monkeypatch.setattr("lt_det.data.formats.registry.FORMATS", shorter)
    counted = training_stats(["as_csv"], cache_dir=str(tmp_path))
    assert counted.instance_counts.sum() == before.instance_counts.sum() - 1
    (tmp_path / "boxes.csv").unlink()
    assert training_stats(["as_csv"], cache_dir=str(tmp_path)).instance_counts.sum() == counted.instance_counts.sum()


class TestMistakes:
    def test_unknown_format(self, tmp_path):
        with pytest.raises(LtDetError, match=r"'voc' .*ANNOTATION_FORMAT.* boxes_csv"):
            register_dataset("nothing", tmp_path, tmp_path, annotation_format="voc")

    def test_taken_name(self):
        with pytest.raises(ValueError, match="coco"):
            register_format("coco")(read_nothing)

    def test_a_reader_that_fails(self, tmp_path):
        register_dataset("failing", tmp_path / "a", tmp_path, annotation_format="broken")
        with pytest.raises(LtDetError, match=r"'broken' fails on .*a \(ZeroDivisionError: no lines\)"):
            load_records("failing")

    def test_a_reader_that_returns_something_else(self, tmp_path):
        register_dataset("listless", tmp_path, tmp_path, annotation_format="many_files")
        with pytest.raises(LtDetError, match="no list 'images'"):
            load_records("listless")

    def test_another_format_under_a_taken_name(self, same, tmp_path, mini):
        with pytest.raises(LtDetError, match="'as_csv' is registered already"):
            register_dataset("as_csv", tmp_path / "boxes.csv", mini.image_root)
