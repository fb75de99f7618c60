"""Where class counts are looked for."""

import copy
import json
import os
from pathlib import Path

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, DatasetMapper, MetadataCatalog
from detectron2.data.datasets import load_coco_json
from detectron2.structures import BoxMode
from PIL import Image

from lt_det.data import register_dataset, training_stats
from lt_det.data.class_counts import remember_counts
from lt_det.errors import LtDetError
from lt_det.statistics.class_stats import ClassStats
from tests.helpers.models import annotations


@pytest.fixture
def name(tmp_path):
    """A registered set of five classes whose images are not on disk: counting does not need them."""
    (tmp_path / "train.json").write_text(json.dumps(annotations()))
    register_dataset("counted", tmp_path / "train.json", tmp_path)
    yield "counted"
    DatasetCatalog.remove("counted")
    MetadataCatalog.remove("counted")


def test_counts_a_registered_set_and_caches_it(name, tmp_path):
    stats = training_stats([name], cache_dir=str(tmp_path))
    assert stats.image_counts.tolist() == [1, 3, 9, 27, 81]
    cached = ClassStats.from_json(tmp_path / "class_stats.json")
    assert cached.image_counts.tolist() == [1, 3, 9, 27, 81]
    assert cached.source.startswith("counted (")


def test_cache_serves_where_the_json_is_gone_and_not_where_it_changed(name, tmp_path):
    training_stats([name], cache_dir=str(tmp_path))
    train = tmp_path / "train.json"
    data = json.loads(train.read_text())
    data["annotations"].pop()
    train.write_text(json.dumps(data))
    assert training_stats([name], cache_dir=str(tmp_path)).image_counts.tolist() == [1, 3, 9, 27, 80]
    train.unlink()
    assert training_stats([name], cache_dir=str(tmp_path)).image_counts.tolist() == [1, 3, 9, 27, 80]
    with pytest.raises(LtDetError, match=r"train\.json of 'counted' does not exist"):
        training_stats([name])


def test_cache_of_another_set_is_not_used(name, tmp_path):
    training_stats([name], cache_dir=str(tmp_path))
    with pytest.raises(LtDetError, match="'not_there' is not registered"):
        training_stats(["not_there"], cache_dir=str(tmp_path))


def test_damaged_cache_is_written_again(name, tmp_path, caplog):
    (tmp_path / "class_stats.json").write_text('{"class_stats": 1, "trunc')
    assert training_stats([name], cache_dir=str(tmp_path)).image_counts.tolist() == [1, 3, 9, 27, 81]
    assert "corrupt" in caplog.text
    assert ClassStats.from_json(tmp_path / "class_stats.json").num_classes == 5


def test_explicit_file_wins(name, tmp_path):
    other = ClassStats(("x",), np.array([5]), np.array([6]), 5, "elsewhere")
    other.save(tmp_path / "saved.json")
    assert training_stats([name], class_stats=str(tmp_path / "saved.json")).names == ("x",)


def test_lvis_v1_from_detectron2s_metadata():
    """337 rare, 461 common, 405 frequent classes: the split of LVIS v1."""
    from lt_det.statistics.buckets import FrequencyBuckets

    assert not os.path.exists(MetadataCatalog.get("lvis_v1_train").json_file)
    stats = training_stats(["lvis_v1_train"])
    assert stats.num_classes == 1203
    assert stats.num_images == 99388
    assert stats.instance_counts is None
    assert FrequencyBuckets.from_edges(stats).sizes() == [337, 461, 405]


def test_set_registered_as_a_function(tmp_path):
    def records():
        boxes = [{"category_id": 0}, {"category_id": 0}, {"category_id": 1, "iscrowd": 1}]
        return [{"annotations": boxes}, {"annotations": boxes[:1]}, {"annotations": []}]

    DatasetCatalog.register("function_set", records)
    MetadataCatalog.get("function_set").set(thing_classes=["a", "b"])
    try:
        stats = training_stats(["function_set"], cache_dir=str(tmp_path))
        assert not list(tmp_path.iterdir())  # it may change unnoticed, so nothing is cached
        assert stats.image_counts.tolist() == [2, 0]
        assert stats.instance_counts.tolist() == [3, 0]
        assert stats.num_images == 2
    finally:
        DatasetCatalog.remove("function_set")
        MetadataCatalog.remove("function_set")


def test_nothing_given():
    with pytest.raises(LtDetError, match=r"DATASETS\.TRAIN"):
        training_stats([])


@pytest.fixture
def own_function(name):
    """A user's function that reads the json of `name`, with the classes in the opposite order."""
    json_file = MetadataCatalog.get(name).json_file
    classes = sorted(json.loads(Path(json_file).read_text())["categories"], key=lambda category: -category["id"])
    class_of = {category["id"]: k for k, category in enumerate(classes)}

    def records():
        data = json.loads(Path(json_file).read_text())
        return [{"annotations": [{"category_id": class_of[a["category_id"]]}]} for a in data["annotations"]]

    DatasetCatalog.register("own", records)
    MetadataCatalog.get("own").set(
        json_file=json_file,
        thing_classes=[category["name"] for category in classes],
        thing_dataset_id_to_contiguous_id=class_of,
    )
    yield "own"
    DatasetCatalog.remove("own")
    MetadataCatalog.remove("own")


def test_what_a_users_function_returns_counts_and_not_its_json(name, own_function, tmp_path):
    stats = training_stats([own_function], cache_dir=str(tmp_path))
    assert stats.instance_counts.tolist() == training_stats([name]).instance_counts.tolist()[::-1]
    assert not (tmp_path / "class_stats.json").exists()


def test_function_that_fails(own_function):
    os.unlink(MetadataCatalog.get(own_function).json_file)
    with pytest.raises(LtDetError, match=r"'own' fails \(FileNotFoundError: .*\)"):
        training_stats([own_function])


def test_function_that_returns_the_ids_of_a_json():
    DatasetCatalog.register("ids", lambda: [{"file_name": "a.jpg", "annotations": [{"category_id": 2}]}])
    MetadataCatalog.get("ids").set(thing_classes=["a", "b"])
    try:
        with pytest.raises(LtDetError, match=r"'ids' returns category_id 2 for a\.jpg, .* from 0 to 1"):
            training_stats(["ids"])
    finally:
        DatasetCatalog.remove("ids")
        MetadataCatalog.remove("ids")


def test_cache_of_two_sets_of_which_one_is_gone_and_the_other_changed(name, tmp_path):
    other = tmp_path / "other.json"
    other.write_text(json.dumps(annotations()))
    register_dataset("other", other, tmp_path)
    try:
        assert training_stats([name, "other"], cache_dir=str(tmp_path)).image_counts.tolist() == [2, 6, 18, 54, 162]
        (tmp_path / "train.json").unlink()
        assert training_stats([name, "other"], cache_dir=str(tmp_path)).num_classes == 5
        data = json.loads(other.read_text())
        data["annotations"].pop()
        other.write_text(json.dumps(data))
        with pytest.raises(LtDetError, match=r"train\.json of 'counted' does not exist"):
            training_stats([name, "other"], cache_dir=str(tmp_path))
    finally:
        DatasetCatalog.remove("other")
        MetadataCatalog.remove("other")


def test_a_process_counts_each_state_once(name, tmp_path, monkeypatch):
    """Whoever asks: with a folder or without; until the file changes."""
    counted = []
    original = ClassStats.from_counter.__func__

    def noted(cls, counter, source):
        counted.append(source)
        return original(cls, counter, source)

    monkeypatch.setattr(ClassStats, "from_counter", classmethod(noted))  # which every count ends in
    first = training_stats([name])
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        folder.mkdir()
        assert training_stats([name], cache_dir=str(folder)) is first
        assert ClassStats.from_json(folder / "class_stats.json").image_counts.tolist() == [1, 3, 9, 27, 81]
    assert training_stats([], class_stats=str(tmp_path / "train.json")).num_classes == 5
    assert training_stats([], class_stats=str(tmp_path / "train.json")).num_classes == 5
    assert len(counted) == 2  # as a dataset, and as a file that is named
    data = json.loads((tmp_path / "train.json").read_text())
    data["annotations"].pop()
    (tmp_path / "train.json").write_text(json.dumps(data))
    assert training_stats([name]).image_counts.tolist() == [1, 3, 9, 27, 80]
    assert training_stats([name], cache_dir=str(folders[0])).image_counts.tolist() == [1, 3, 9, 27, 80]
    assert ClassStats.from_json(folders[0] / "class_stats.json").image_counts.tolist() == [1, 3, 9, 27, 80]
    assert len(counted) == 3


def test_remembered_counts_of_a_set_that_is_not_here(name, tmp_path):
    """As for the losses of a LazyConfig, which know no OUTPUT_DIR."""
    training_stats([name], cache_dir=str(tmp_path))
    (tmp_path / "train.json").unlink()
    with pytest.raises(LtDetError, match="does not exist"):
        training_stats([name])
    remember_counts([name], str(tmp_path))
    assert training_stats([name]).image_counts.tolist() == [1, 3, 9, 27, 81]
    remember_counts(["not_there"], str(tmp_path))  # a loss that needs the counts raises the error


BOXES = {
    "inside": ([10, 10, 20, 20], 1),
    "partly outside": ([-5, 20, 20, 20], 1),
    "no width": ([10, 10, 0, 20], 0),
    "no height": ([10, 10, 20, 0], 0),
    "negative width": ([30, 10, -5, 20], 0),
    "beyond the right": ([64, 10, 9, 9], 0),
    "beyond the top": ([10, -9, 9, 9], 0),
}


@pytest.fixture
def boxes_by_class(tmp_path):
    """A file with one image, in which each class has one box of `BOXES`, and the first 40 more.

    Fewer would make the mistakes so many that the file is refused.
    """
    boxes = [box for box, _ in BOXES.values()]
    Image.new("RGB", (64, 48)).save(tmp_path / "a.png")
    data = {
        "images": [{"id": 1, "width": 64, "height": 48, "file_name": "a.png"}],
        "categories": [{"id": k, "name": name} for k, name in enumerate(BOXES)],
        "annotations": [
            {"id": number, "image_id": 1, "category_id": k, "bbox": box}
            for number, (k, box) in enumerate([*enumerate(boxes), *[(0, boxes[0])] * 40], 1)
        ],
    }
    (tmp_path / "boxes.json").write_text(json.dumps(data))
    return data, tmp_path / "boxes.json"


def seen_by_training(record):
    mapper = DatasetMapper(True, augmentations=[], image_format="RGB")
    found = mapper(copy.deepcopy(record))["instances"].gt_classes
    return np.bincount(found.numpy(), minlength=len(BOXES)).tolist()


def test_counts_are_what_training_sees(boxes_by_class, tmp_path):
    """Files in pieces, documents in memory, and records of a user's own function."""
    data, file = boxes_by_class
    (record,) = load_coco_json(str(file), str(tmp_path))
    expected = [40 * (name == "inside") + count for name, (_, count) in BOXES.items()]
    assert seen_by_training(record) == expected
    counts = [ClassStats.from_json(file), ClassStats.from_annotations(data, "x")]
    for mode in (BoxMode.XYWH_ABS, BoxMode.XYXY_ABS):
        name = f"own_{mode.name}"
        own = copy.deepcopy(record)
        for annotation in own["annotations"]:
            annotation["bbox"] = BoxMode.convert(annotation["bbox"], annotation["bbox_mode"], mode)
            annotation["bbox_mode"] = mode
        assert seen_by_training(own) == expected
        DatasetCatalog.register(name, lambda own=own: [own])
        MetadataCatalog.get(name).set(thing_classes=list(BOXES))
        counts.append(training_stats([name]))
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    for stats in counts:
        assert stats.image_counts.tolist() == [min(count, 1) for count in expected]
        assert stats.instance_counts.tolist() == expected
        assert stats.num_images == 1


def test_boxes_beyond_images_of_unknown_size_are_counted(boxes_by_class):
    data, _ = boxes_by_class
    counts = ClassStats.from_annotations({**data, "images": []}, "x").image_counts.tolist()
    assert dict(zip(BOXES, counts, strict=True))["beyond the right"] == 1
    assert dict(zip(BOXES, counts, strict=True))["no width"] == 0
