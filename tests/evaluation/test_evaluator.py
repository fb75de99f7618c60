"""The Detectron2 evaluator, with Instances as a model returns them."""

import dataclasses
import json
import math
import re
import shutil

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances, register_lvis_instances
from detectron2.data.samplers import InferenceSampler
from detectron2.structures import Boxes, Instances
from detectron2.utils import comm
from torch.utils.data import DistributedSampler

import lt_det
from lt_det.data import register_dataset
from lt_det.errors import LtDetError
from lt_det.evaluation import LongTailEvaluator, evaluate
from lt_det.evaluation.protocols import COCO, LVIS
from lt_det.io.annotations.coco_json import load_annotations
from lt_det.statistics.class_stats import ClassStats
from lt_det.terminal import warn_once
from tests.helpers import first_images
from tests.helpers.gloo import in_processes


@pytest.fixture
def val(mini):
    register_dataset("eval_val", mini.val_json, mini.image_root)
    register_dataset("eval_train", mini.train_json, mini.image_root)
    yield "eval_val"
    for name in ("eval_val", "eval_train"):
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def feed(evaluator, name, skip_class=None, part=None):
    """Pass the ground truth as detections, of all images or of a part of them, given by their indices."""
    records = DatasetCatalog.get(name)
    for record in records if part is None else [records[index] for index in part]:
        kept = [a for a in record["annotations"] if a["category_id"] != skip_class]
        instances = Instances((record["height"], record["width"]))
        boxes = torch.tensor([a["bbox"] for a in kept]).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        instances.pred_boxes = Boxes(boxes)
        instances.scores = torch.full((len(kept),), 0.9)
        instances.pred_classes = torch.tensor([a["category_id"] for a in kept])
        evaluator.process([{"image_id": record["image_id"]}], [{"instances": instances}])


def test_truth_scores_100_and_a_missed_class_0(val, mini, tmp_path):
    stats = ClassStats.from_json(mini.train_json)
    evaluator = LongTailEvaluator(val, stats=stats, output_dir=str(tmp_path))
    feed(evaluator, val, skip_class=3)
    metrics = evaluator.evaluate()["bbox"]
    assert metrics["AP"] == pytest.approx(100 * 11 / 12)
    written = json.loads((tmp_path / "evaluation.json").read_text())
    assert written["protocol"] == "lvis"
    assert written["tasks"]["bbox"]["class_ap"][3] == 0
    assert [entry["images"] for entry in written["classes"]] == stats.image_counts.tolist()
    assert len(json.loads((tmp_path / "instances_predictions.json").read_text())) > 100


def test_without_training_set_the_json_names_the_buckets(val, mini):
    with_stats = LongTailEvaluator(val, stats=ClassStats.from_json(mini.train_json))
    without = LongTailEvaluator(val)
    for evaluator in (with_stats, without):
        feed(evaluator, val, skip_class=3)
    assert with_stats.evaluate() == without.evaluate()


def test_no_detections(val, caplog):
    evaluator = LongTailEvaluator(val)
    metrics = evaluator.evaluate()["bbox"]
    assert metrics["AP"] == metrics["APr"] == 0
    assert "detected nothing in eval_val" in caplog.text


def test_some_images(val, mini, tmp_path):
    """The metrics are those of a dataset of these images; with the evaluator of all images nothing changes."""
    (tmp_path / "few.json").write_text(json.dumps(first_images(mini.val_json, 9)))
    register_dataset("eval_few", tmp_path / "few.json", mini.image_root)
    few = LongTailEvaluator("eval_few")
    whole = LongTailEvaluator(val, output_dir=str(tmp_path))
    ids = [record["image_id"] for record in DatasetCatalog.get("eval_few")]
    part = whole.of_images(ids[::-1])
    for evaluator in (few, part):
        feed(evaluator, "eval_few", skip_class=1)
    assert part.evaluate() == few.evaluate()
    assert not (tmp_path / "evaluation.json").exists()
    assert whole.context.num_images == 40
    with pytest.raises(LtDetError, match=r"1 of 2 images are not in 'eval_val'.* -5"):
        whole.of_images([ids[0], -5])


def config(tmp_path, **buckets):
    cfg = get_cfg()
    lt_det.add_lt_config(cfg)
    cfg.DATASETS.TRAIN = ("eval_train",)
    cfg.OUTPUT_DIR = str(tmp_path)
    for key, value in buckets.items():
        cfg.TEST.BUCKETS[key] = value
    return cfg


@pytest.mark.parametrize(
    ("buckets", "names"),
    [
        ({}, ["APr", "APc", "APf"]),
        ({"EQUAL_GROUPS": 4}, ["AP-group0", "AP-group1", "AP-group2", "AP-group3"]),
        ({"EDGES": [50], "NAMES": ["few", "many"], "BY": "instances"}, ["AP-few", "AP-many"]),
    ],
)
def test_buckets_of_a_config(val, tmp_path, buckets, names):
    evaluator = LongTailEvaluator.from_config(config(tmp_path, **buckets), val)
    feed(evaluator, val)
    metrics = evaluator.evaluate()["bbox"]
    assert list(metrics)[6 : 6 + len(names)] == names
    assert all(metrics[name] == pytest.approx(100) for name in names)
    assert (tmp_path / "inference" / "eval_val" / "evaluation.json").is_file()


def test_one_bucket_of_all_classes_is_reported_once(val, tmp_path, caplog):
    warn_once.cache_clear()
    for _ in range(2):  # a training evaluates many times
        LongTailEvaluator.from_config(config(tmp_path, EDGES=[10**6]), val)
    assert caplog.text.count("TEST.BUCKETS.EQUAL_GROUPS 3") == 1


def test_limits_of_a_config(val, tmp_path, caplog):
    cfg = config(tmp_path)
    cfg.TEST.MAX_DETS, cfg.TEST.DETECTIONS_PER_IMAGE = 1, 2
    evaluator = LongTailEvaluator.from_config(cfg, val)
    assert "more objects than the limit of 1 detections per image" in caplog.text
    assert "images hold more objects than the 2 detections per image that the model may make" in caplog.text
    feed(evaluator, val)
    assert evaluator.evaluate()["bbox"]["AR"] < 99
    assert "off the lvis protocol: 1 instead of 300 detections per image" in caplog.text
    written = json.loads((tmp_path / "inference" / "eval_val" / "evaluation.json").read_text())
    assert (written["protocol"], written["max_dets"]) == ("lvis", 1)
    cfg.TEST.MAX_DETS = 0
    with pytest.raises(LtDetError, match=r"TEST\.MAX_DETS is 0"):
        LongTailEvaluator.from_config(cfg, val)


def test_bucket_map_and_mistakes(val, tmp_path):
    names = DatasetCatalog.get(val) and MetadataCatalog.get(val).thing_classes
    (tmp_path / "map.json").write_text(json.dumps({names[0]: "base", names[1]: "novel"}))
    evaluator = LongTailEvaluator.from_config(config(tmp_path, MAP=str(tmp_path / "map.json")), val)
    feed(evaluator, val)
    assert list(evaluator.evaluate()["bbox"])[6:8] == ["AP-base", "AP-novel"]
    with pytest.raises(LtDetError, match=r"bucket map .*gone\.json does not exist"):
        LongTailEvaluator.from_config(config(tmp_path, MAP=str(tmp_path / "gone.json")), val)
    with pytest.raises(LtDetError, match=r"TEST\.BUCKETS\.BY is 'pixels'"):
        LongTailEvaluator.from_config(config(tmp_path, BY="pixels"), val)


def test_buckets_whose_counts_are_not_known(val, tmp_path, caplog):
    """An LVIS json has its own buckets; other buckets cannot be made of their names."""
    cfg = config(tmp_path)
    cfg.DATASETS.TRAIN = ("lvis_v0.5_train",)  # not on this machine
    assert LongTailEvaluator.from_config(cfg, val).buckets.names == ("rare", "common", "frequent")
    assert "Training images per class are not known" in caplog.text
    cfg.TEST.BUCKETS.EDGES = [20, 50]
    with pytest.raises(LtDetError, match=r"'lvis_v0.5_train' does not exist"):
        LongTailEvaluator.from_config(cfg, val)


@pytest.fixture
def changed(mini, tmp_path):
    """Registers mini_lvis's validation set, changed by a function, with a function of lt_det's or Detectron2's."""
    data = load_annotations(mini.val_json)

    def changed(change, register, *options):
        change(data)
        (tmp_path / "changed.json").write_text(json.dumps(data))
        register("changed_val", *options, str(tmp_path / "changed.json"), str(mini.image_root))
        return "changed_val"

    yield changed
    DatasetCatalog.remove("changed_val")
    MetadataCatalog.remove("changed_val")


def without_lists(data):
    for image in data["images"]:
        image["neg_category_ids"] = None


def test_a_json_without_lists_is_evaluated_as_coco(changed):
    """Otherwise false positives of most classes would be ignored."""
    evaluator = LongTailEvaluator(changed(without_lists, register_dataset))
    assert evaluator.context.protocol is COCO


def test_a_set_registered_as_lviss_without_lists(changed):
    name = changed(without_lists, register_lvis_instances, {})
    with pytest.raises(LtDetError, match=r"json has no neg_category_ids, .*'changed_val' as coco"):
        LongTailEvaluator(name)


def test_a_set_of_which_some_images_lack_lists(changed, caplog):
    LongTailEvaluator(changed(lambda data: without_lists({"images": data["images"][:3]}), register_dataset))
    assert "3 of 40 images have no neg_category_ids" in caplog.text


@pytest.mark.parametrize("lists", [[], [1]])
def test_lists_that_are_all_empty(changed, caplog, lists):
    """As tools write them that know the key and not its meaning: most false positives are ignored."""
    name = changed(lambda data: [image.update(neg_category_ids=lists) for image in data["images"]], register_dataset)
    evaluator = LongTailEvaluator(name)
    assert evaluator.context.protocol is LVIS
    assert ("empty in every image" in caplog.text) == (not lists)
    assert ("register 'changed_val' as coco" in caplog.text) == (not lists)


def test_mistakes_that_detectron2s_loader_ignores(changed):
    name = changed(lambda data: data["annotations"][5].update(image_id=999), register_coco_instances, {})
    assert len(DatasetCatalog.get(name)) == 40
    with pytest.raises(LtDetError, match=r"changed\.json: annotation 6: image 999"):
        LongTailEvaluator(name)


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ({"iscrowd": 1}, "have 'iscrowd' 1"),
        ({"ignore": 1}, "have 'ignore' 1"),
        ({"segmentation": [[1, 2, 3, 4]]}, "segmentations cannot be used"),
        ({"bbox": [1, 1, 0, 5]}, "boxes have no area"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_mistakes_in_many_annotations_are_a_warning(changed, caplog, mistake, message):
    """Detectron2's loader skips them, so that training and evaluation have always worked."""
    name = changed(lambda data: [a.update(mistake) for a in data["annotations"][::2]], register_coco_instances, {})
    LongTailEvaluator(name)
    assert re.search(rf"changed\.json: .*{message}", caplog.text)


def test_other_classes_than_in_training(val, litter):
    with pytest.raises(LtDetError, match=r"has 12 classes, but the training set .* has 13"):
        LongTailEvaluator(val, stats=ClassStats.from_json(litter))


def test_same_number_of_other_classes(val, mini):
    stats = ClassStats.from_json(mini.train_json)
    shuffled = dataclasses.replace(stats, names=stats.names[::-1])
    with pytest.raises(LtDetError, match=r"Class 0 is '.*' in .* but '.*' in the training set"):
        LongTailEvaluator(val, stats=shuffled)


@pytest.mark.parametrize(("size", "images", "padded"), [(2, 40, False), (3, 40, True), (3, 2, False)])
def test_several_processes_equal_one(val, mini, tmp_path, size, images, padded):
    """Each evaluates a part of the images: 20 and 20, or 14, 14 and 14, of which two came before, or 1, 1 and none.

    The main process gets the metrics.
    """
    alone = LongTailEvaluator(val, stats=ClassStats.from_json(mini.train_json))
    feed(alone, val, skip_class=3, part=range(images))
    in_processes(size, tmp_path, evaluate_part, mini, images, padded, tmp_path)
    main, *others = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(size)]
    assert others == [None] * (size - 1)
    expected = json.loads(json.dumps(alone.evaluate()))
    assert str(main) == str(expected)  # as text, because nan is not nan


def evaluate_part(mini, images, padded, folder):
    name = "eval_part"
    register_dataset(name, mini.val_json, mini.image_root)
    evaluator = LongTailEvaluator(name, stats=ClassStats.from_json(mini.train_json))
    sampler = DistributedSampler(range(images), shuffle=False) if padded else InferenceSampler(images)
    feed(evaluator, name, skip_class=3, part=sampler)
    (folder / f"{comm.get_rank()}.json").write_text(json.dumps(evaluator.evaluate()))


def test_masks_and_the_file_that_is_written(val, mini, tmp_path):
    """The written detections, evaluated as a file, give the same metrics; a second evaluation does not change them."""
    stats = ClassStats.from_json(mini.train_json)
    evaluator = LongTailEvaluator(val, stats=stats, output_dir=str(tmp_path))
    for record in DatasetCatalog.get(val):
        size = (record["height"], record["width"])
        instances = Instances(size)
        boxes = torch.tensor([a["bbox"] for a in record["annotations"]]).reshape(-1, 4) + 0.25
        boxes[:, 2:] += boxes[:, :2]
        instances.pred_boxes = Boxes(boxes)
        instances.scores = torch.linspace(0.9, 0.1, len(boxes))
        instances.pred_classes = torch.tensor([a["category_id"] for a in record["annotations"]], dtype=torch.int64)
        masks = torch.zeros(len(boxes), *size, dtype=torch.bool)
        for mask, (x0, y0, x1, y1) in zip(masks, boxes.int().tolist(), strict=True):
            mask[y0:y1, x0:x1] = True
        instances.pred_masks = masks
        evaluator.process([{"image_id": record["image_id"]}], [{"instances": instances}])
    metrics = evaluator.evaluate()
    assert metrics["bbox"]["AP"] > metrics["segm"]["AP"] > 0
    file = tmp_path / "instances_predictions.json"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["evaluation.json", "instances_predictions.json"]
    written = file.read_text()

    tasks = ["bbox", "segm"]
    again = evaluate(mini.val_json, file, train=stats, protocol="lvis", iou=tasks)
    assert str(again.metrics) == str(metrics)  # as text, because nan is not nan
    assert str(evaluator.evaluate()) == str(metrics)
    assert file.read_text() == written


@pytest.mark.parametrize("room", [0, 60_000])
def test_disk_that_is_full(val, mini, small_disk, room):
    """While a process writes its part, or while the parts are joined."""
    evaluator = LongTailEvaluator(val, stats=ClassStats.from_json(mini.train_json), output_dir=str(small_disk))
    (small_disk / "other").write_bytes(bytes(shutil.disk_usage(small_disk).free - room))
    with pytest.raises(LtDetError, match=r"predictions\.json \(No space left on device\)"):
        feed_and_evaluate(evaluator, val)
    assert not (small_disk / "instances_predictions.json").exists()


@pytest.mark.parametrize("room", [0, 60_000])
def test_in_a_training_a_full_disk_costs_the_files_alone(val, mini, small_disk, tmp_path, caplog, room):
    stats = ClassStats.from_json(mini.train_json)
    expected = LongTailEvaluator(val, stats=stats, output_dir=str(tmp_path / "out"))
    feed(expected, val)
    evaluator = LongTailEvaluator(val, stats=stats, output_dir=str(small_disk))
    evaluator.needs_files = False
    evaluator.reset()
    (small_disk / "other").write_bytes(bytes(shutil.disk_usage(small_disk).free - room))
    feed(evaluator, val)
    assert str(evaluator.evaluate()) == str(expected.evaluate())
    assert [path.name for path in small_disk.iterdir()] == ["other"]
    assert len([record for record in caplog.records if "not written to files" in record.getMessage()]) == 1


def feed_and_evaluate(evaluator, name):
    feed(evaluator, name)
    evaluator.evaluate()


def test_keypoints_are_ignored_with_a_warning(val, caplog):
    evaluator = LongTailEvaluator(val)
    instances = Instances((9, 9), pred_boxes=Boxes(torch.zeros(0, 4)), scores=torch.zeros(0))
    instances.pred_classes, instances.pred_keypoints = torch.zeros(0, dtype=torch.int64), torch.zeros(0, 2, 3)
    for record in DatasetCatalog.get(val)[:2]:
        evaluator.process([{"image_id": record["image_id"]}], [{"instances": instances}])
    assert caplog.text.count("keypoints") == 1


def test_a_set_that_is_not_registered():
    with pytest.raises(LtDetError, match="no dataset 'no_set'"):
        LongTailEvaluator("no_set")


def test_empty_bucket_is_nan_in_metrics_and_null_in_json(val, mini, tmp_path):
    stats = ClassStats.from_json(mini.train_json)
    buckets = lt_det.FrequencyBuckets.from_edges(stats, edges=[10**6, 10**7])
    evaluator = LongTailEvaluator(val, stats=stats, buckets=buckets, output_dir=str(tmp_path))
    feed(evaluator, val)
    assert math.isnan(evaluator.evaluate()["bbox"]["APf"])
    written = json.loads((tmp_path / "evaluation.json").read_text())
    assert written["tasks"]["bbox"]["metrics"]["APf"] is None


@pytest.fixture
def own_function(val):
    """A user's function whose classes are those of `val` in the opposite order."""
    records = DatasetCatalog.get(val)
    json_ids = MetadataCatalog.get(val).thing_dataset_id_to_contiguous_id
    last = len(json_ids) - 1
    for record in records:
        for annotation in record["annotations"]:
            annotation["category_id"] = last - annotation["category_id"]
    DatasetCatalog.register("own_val", lambda: records)
    metadata = MetadataCatalog.get("own_val")
    metadata.set(json_file=MetadataCatalog.get(val).json_file)
    yield metadata, {id_: last - k for id_, k in json_ids.items()}
    DatasetCatalog.remove("own_val")
    MetadataCatalog.remove("own_val")


def test_classes_of_a_users_function_in_another_order(own_function, val, tmp_path):
    metadata, class_of = own_function
    metadata.set(thing_dataset_id_to_contiguous_id=class_of)
    evaluator = LongTailEvaluator("own_val", output_dir=str(tmp_path))
    feed(evaluator, "own_val", skip_class=2)
    assert evaluator.evaluate()["bbox"]["AP"] == pytest.approx(100 * 11 / 12)
    written = json.loads((tmp_path / "evaluation.json").read_text())
    assert written["protocol"] == "lvis"  # by the json's lists
    assert written["tasks"]["bbox"]["class_ap"][2] == 0
    assert [entry["id"] for entry in written["classes"]] == sorted(class_of, key=class_of.get)
    assert [entry["name"] for entry in written["classes"]] == MetadataCatalog.get(val).thing_classes[::-1]


@pytest.mark.parametrize("metadata_of", ["part", "names"])
def test_classes_in_an_unknown_order(own_function, val, metadata_of):
    metadata, class_of = own_function
    if metadata_of == "part":
        metadata.set(thing_dataset_id_to_contiguous_id=dict(list(class_of.items())[1:]))
    else:
        metadata.set(thing_classes=MetadataCatalog.get(val).thing_classes[::-1])
    with pytest.raises(LtDetError, match=r"'own_val' .*thing_dataset_id_to_contiguous_id"):
        LongTailEvaluator("own_val")


def test_a_json_written_after_its_registration(mini, tmp_path):
    register_dataset("late", tmp_path / "late.json", mini.image_root)
    try:
        (tmp_path / "late.json").write_bytes(mini.val_json.read_bytes())
        evaluator = LongTailEvaluator("late", output_dir=str(tmp_path))
        evaluator.evaluate()
        assert json.loads((tmp_path / "evaluation.json").read_text())["protocol"] == "lvis"
    finally:
        DatasetCatalog.remove("late")
        MetadataCatalog.remove("late")
