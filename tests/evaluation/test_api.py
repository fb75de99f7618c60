"""`evaluate` and `LongTailAP`: every form of input gives the same numbers, and mistakes get one clear sentence."""

import json
import logging
import subprocess
import sys

import numpy as np
import pytest
import torch
from pycocotools import mask as mask_utils

from lt_det.errors import LtDetError
from lt_det.evaluation import BucketOptions, ClassStats, FrequencyBuckets, LongTailAP, evaluate
from lt_det.io.annotations.coco_json import load_annotations
from tests.helpers import jittered_detections
from tests.helpers.worlds import noisy_detections, to_rle

TASKS = ["bbox", "segm"]


def rounded(data, detections):
    """Whole coordinates, so that x1, y1, x2, y2 and x, y, width, height are the same numbers; masks instead of RLE."""
    sizes = {image["id"]: (image["height"], image["width"]) for image in data["images"]}
    for entry in [*data["annotations"], *detections]:
        entry["bbox"] = [float(round(x)) for x in entry["bbox"]]
        if isinstance(entry["segmentation"], list):
            entry["segmentation"] = to_rle(entry["segmentation"], sizes[entry["image_id"]])
    for annotation in data["annotations"]:
        annotation["area"] = float(mask_utils.area(annotation["segmentation"]))
    return data, detections


@pytest.fixture(scope="module")
def world(mini):
    """mini_lvis's validation set without LVIS's lists, and detections."""
    data = load_annotations(mini.val_json)
    data["images"] = [{key: image[key] for key in ("id", "height", "width")} for image in data["images"]]
    return rounded(data, noisy_detections(data, extra=0))


@pytest.fixture(scope="module")
def lvis_world(mini):
    data = load_annotations(mini.val_json)
    return rounded(data, noisy_detections(data, extra=0))


def corners(entries):
    boxes = np.array([entry["bbox"] for entry in entries], dtype=np.float64).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def per_image(data, entries, convert=np.asarray, with_id=False):
    """One dictionary per image, in the order of the file."""
    images = []
    for image in data["images"]:
        own = [entry for entry in entries if entry["image_id"] == image["id"]]
        masks = [mask_utils.decode(entry["segmentation"]) for entry in own]
        arrays = {
            "boxes": convert(corners(own)),
            "labels": convert(np.array([entry["category_id"] for entry in own], dtype=np.int64)),
            "masks": convert(np.array(masks, dtype=np.uint8).reshape(len(own), image["height"], image["width"])),
        }
        if own and "score" in own[0]:
            arrays["scores"] = convert(np.array([entry["score"] for entry in own]))
        elif entries and "score" in entries[0]:
            arrays["scores"] = convert(np.zeros(0))
        else:
            arrays["area"] = convert(np.array([entry["area"] for entry in own]))
        images.append(arrays | ({"image_id": image["id"]} if with_id else {}))
    return images


def same(result, expected):
    """All numbers; the draws and errors too. Names of files differ."""
    found, reference = result.to_dict(), expected.to_dict()
    for task, values in reference["tasks"].items():
        for key, value in values.items():
            assert found["tasks"][task][key] == value, (task, key)
    assert found["protocol"] == reference["protocol"]
    assert found["buckets"] == reference["buckets"]


def test_files_equal_what_they_hold(world, mini, tmp_path):
    data, detections = world
    plain = [
        d | {"segmentation": d["segmentation"] | {"counts": d["segmentation"]["counts"].decode()}} for d in detections
    ]
    truth = [
        a | {"segmentation": a["segmentation"] | {"counts": a["segmentation"]["counts"].decode()}}
        for a in data["annotations"]
    ]
    (tmp_path / "val.json").write_text(json.dumps({**data, "annotations": truth}))
    (tmp_path / "results.json").write_text(json.dumps(plain))
    train = load_annotations(mini.train_json)
    ClassStats.from_json(mini.train_json).save(tmp_path / "counts.json")
    expected = evaluate(data, detections, train=train, iou=TASKS, draws=100)
    assert expected.protocol == "coco"
    assert 5 < expected.metrics["bbox"]["AP"] < 95
    assert expected.metrics["segm"]["APr"] > 0
    for counts in (mini.train_json, tmp_path / "counts.json", ClassStats.from_json(mini.train_json)):
        result = evaluate(tmp_path / "val.json", str(tmp_path / "results.json"), counts, iou=TASKS, draws=100)
        same(result, expected)
    assert result.to_dict()["dataset"] == "val"
    assert result.to_dict()["results"] == str(tmp_path / "results.json")


@pytest.mark.parametrize("convert", [np.asarray, torch.as_tensor], ids=["arrays", "tensors"])
def test_dictionaries_per_image_equal_coco_dictionaries(world, mini, convert):
    data, detections = world
    expected = evaluate(data, detections, train=mini.train_json, iou=TASKS, draws=100)
    targets, preds = per_image(data, data["annotations"], convert, with_id=True), per_image(data, detections, convert)
    same(evaluate(targets, preds, mini.train_json, iou=TASKS, draws=100), expected)
    same(
        evaluate(data, per_image(data, detections, convert, with_id=True), mini.train_json, iou=TASKS, draws=100),
        expected,
    )
    by_id = dict(zip([image["id"] for image in data["images"]], preds, strict=True))
    same(evaluate(data, by_id, mini.train_json, iou=TASKS, draws=100), expected)


@pytest.mark.parametrize("protocol", ["lvis", "fixed", "pool", "coco"])
def test_accumulator_with_an_annotation_file(lvis_world, protocol):
    data, detections = lvis_world
    expected = evaluate(data, detections, protocol=protocol, iou=TASKS)
    metric = LongTailAP(data, protocol=protocol, iou=TASKS)
    preds = per_image(data, detections, torch.as_tensor, with_id=True)
    for start in range(0, len(preds), 7):
        metric.update(preds[start : start + 7])
    same(metric.compute(), expected)
    same(metric.compute(), expected)
    metric.reset()
    assert metric.compute().metrics["bbox"]["AP"] == 0


@pytest.mark.parametrize("with_id", [False, True])
def test_accumulator_with_targets_equals_evaluate(world, mini, with_id):
    """With ids the images come in another order than by id; each batch knows its own labels only."""
    data, detections = world
    if with_id:
        data = {**data, "images": data["images"][::-1]}
    targets = per_image(data, data["annotations"], with_id=with_id)
    preds = per_image(data, detections, with_id=with_id)
    buckets = [2, 20]
    expected = evaluate(targets, preds, mini.train_json, buckets=buckets, iou=TASKS, draws=100)
    metric = LongTailAP(train=mini.train_json, buckets=buckets, iou=TASKS, draws=100)
    for start in range(0, len(preds), 3):
        metric.update(preds[start : start + 3], targets[start : start + 3])
    assert metric.compute().to_dict() == expected.to_dict()
    # Without the training set the classes are the labels that occur.
    metric = LongTailAP(iou="bbox")
    for start in range(0, len(preds), 3):
        metric.update(preds[start : start + 3], targets[start : start + 3])
    assert metric.compute().to_dict() == evaluate(targets, preds).to_dict()


def test_accumulator_keeps_no_masks(world):
    data, detections = world
    metric = LongTailAP(iou="segm")
    metric.update(per_image(data, detections), per_image(data, data["annotations"]))
    (batch,) = metric._batches
    assert batch.truth.segmentations == []
    assert batch.matches["segm"].scores.size > 100


def test_buckets_in_every_form(lvis_world, mini):
    data, detections = lvis_world
    stats = ClassStats.from_json(mini.train_json)
    edges = evaluate(data, detections, stats, buckets=[5, 50])
    assert edges.buckets.assignment.tolist() == FrequencyBuckets.from_edges(stats, [5, 50]).assignment.tolist()
    same(evaluate(data, detections, stats, buckets=BucketOptions(edges=[5, 50])), edges)
    same(evaluate(data, detections, stats, buckets=FrequencyBuckets.from_edges(stats, [5, 50])), edges)
    base = {category["name"]: "base" for category in data["categories"]}
    assert evaluate(data, detections, buckets=base).buckets.names == ("base",)  # needs no training set
    assert evaluate(data, detections).buckets.names == ("rare", "common", "frequent")  # of the file


BOX = {"boxes": [[10.0, 10.0, 20.0, 20.0]], "labels": [3]}
FOUND = BOX | {"scores": [0.9]}


def test_lists_may_be_plain_and_have_classes():
    result = evaluate([BOX, BOX], [FOUND, {"boxes": [], "labels": [], "scores": []}], classes={3: "cup", 7: "fork"})
    assert result.metrics["bbox"]["AR"] == 50
    assert [entry.name for entry in result.per_class["bbox"]] == ["cup", "fork"]
    assert np.isnan(result.per_class["bbox"][1].ap)


@pytest.mark.parametrize("at_once", [True, False])
def test_the_accumulator_uses_the_classes_of_a_list(at_once):
    classes = {3: "cup", 7: "fork"}
    metric = LongTailAP([BOX, BOX] if at_once else None, classes=classes)
    for image in (0, 1):
        metric.update({image: FOUND}) if at_once else metric.update([FOUND], [BOX])
    result = metric.compute()
    same(result, evaluate([BOX, BOX], [FOUND, FOUND], classes=classes))
    assert [entry.name for entry in result.per_class["bbox"]] == ["cup", "fork"]


def test_labels_that_only_detections_have_do_not_change_ap():
    found = {"boxes": [[10, 10, 20, 20], [0, 0, 5, 5]], "labels": [3, 9], "scores": [0.5, 0.9]}
    assert evaluate([BOX], [found]).metrics["bbox"]["AP"] == pytest.approx(100)


DATA = {
    "images": [{"id": 1, "height": 40, "width": 40}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 3, "bbox": [10, 10, 10, 10]}],
    "categories": [{"id": 3, "name": "cup"}],
}


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([BOX, BOX], [FOUND]), {}, "1 dictionary for 2 images"),
        (([BOX], [FOUND | {"scores": [0.9, 0.8]}]), {}, r"image 0: 'scores' .*\(2,\)"),
        (([BOX], [FOUND | {"scores": [float("nan")]}]), {}, "image 0: 'scores' must be finite"),
        (([BOX], [FOUND | {"scores": ["high"]}]), {}, "image 0: 'scores' must be finite"),
        (([BOX], [BOX]), {}, "image 0 has no 'scores'"),
        (([BOX], [FOUND | {"labels": [1.5]}]), {}, "image 0: 'labels' are float64"),
        (([BOX], [FOUND | {"labels": [[3]]}]), {}, r"image 0: 'labels' .*\(1, 1\)"),
        (([BOX], [FOUND | {"boxes": [[10, 10, 5, 5]]}]), {}, r"image 0: .*\[10\.0, 10\.0, 5\.0, 5\.0\] .*x2 < x1"),
        (([BOX], [FOUND | {"boxes": [[10, 10, 5]]}]), {}, r"image 0: 'boxes' .*\(1, 3\)"),
        (([BOX | {"boxes": [[9, 9, 5, 5]]}], [FOUND]), {}, "ground truth, image 0: .*x2 < x1"),
        (([BOX], [FOUND]), {"iou": "segm"}, "image 0 has no 'masks'"),
        (
            ([BOX | {"masks": np.ones((2, 9, 9))}], [FOUND]),
            {"iou": "segm"},
            r"image 0: 'masks' .*\(2, 9, 9\).* 1 label;",
        ),
        (
            ([BOX | {"masks": np.ones((1, 9, 9))}], [FOUND | {"masks": np.ones((1, 9, 8))}]),
            {"iou": "segm"},
            "image 0: 'masks' are of 9 x 8 pixels.* 9 x 9",
        ),
        (([BOX], [FOUND]), {"protocol": "lvis"}, "no neg_category_ids.* lvis"),
        (([BOX], [FOUND]), {"protocol": "voc"}, "protocol is 'voc'"),
        (([BOX], [FOUND]), {"iou": "boundary"}, "iou is boundary"),
        (([BOX], [FOUND]), {"iou": ()}, "iou is"),
        (([BOX], [FOUND]), {"draws": 7}, "draws is 7"),
        (([BOX], [FOUND]), {"protocol": "pool", "draws": 100}, "AP-Pool has no intervals"),
        (([BOX], [FOUND]), {"classes": {1: "a"}}, "ground truth has the label 3"),
        (([BOX], [FOUND | {"labels": [4]}]), {"classes": {3: "a"}}, "detections has the label 4"),
        (([BOX], [FOUND]), {"buckets": [10]}, "training set"),
        (([BOX], [FOUND]), {"train": ClassStats(("a",), np.ones(1, int), None, 1, "counts")}, "counts .*classes"),
        (([BOX], [FOUND]), {"train": 5}, "train must be .* int"),
        (([BOX | {"image_id": 1}, BOX], [FOUND]), {}, "1 of 2 images have an 'image_id'"),
        (([BOX | {"image_id": 1}] * 2, [FOUND] * 2), {}, "image 1 occurs twice"),
        (([BOX], [FOUND | {"image_id": [1, 2]}]), {}, r"image 0: 'image_id' is \[1, 2\]"),
        (([BOX], [FOUND | {"image_id": 8}]), {}, "'image_id' .* 8"),
        (([BOX], [FOUND, 5]), {}, "image 1: .*int"),
        ((DATA, [FOUND]), {}, "do not say which image"),
        ((DATA, {1: FOUND | {"labels": [4]}}), {}, "'category_id' .* 4"),
        ((DATA, {1: FOUND}), {"classes": {3: "a"}}, "leave classes out"),
        ((DATA, {1: FOUND}), {"buckets": FrequencyBuckets(("a",), np.zeros(2, int))}, "2 classes.* has 1"),
        ((DATA, [{"image_id": 1, "category_id": 3}]), {}, "no 'score'"),
        ((DATA, "gone.json"), {}, "gone.json does not exist"),
        (("gone.json", []), {}, "gone.json does not exist"),
        ((DATA | {"categories": []}, []), {}, "ground truth lists no categories"),
        ((5, []), {}, "ground truth must be .* int"),
        (([], []), {}, "ground truth must be .* list"),
    ],
)
def test_mistakes(arguments, options, message):
    with pytest.raises(LtDetError, match=message):
        evaluate(*arguments, **options)


def test_mistakes_with_the_accumulator():
    with pytest.raises(LtDetError, match="lvis protocol needs an annotation file"):
        LongTailAP(protocol="lvis")
    with pytest.raises(LtDetError, match="leave classes out"):
        LongTailAP(DATA, classes={3: "a"})
    metric = LongTailAP()
    with pytest.raises(LtDetError, match="call update before compute"):
        metric.compute()
    with pytest.raises(LtDetError, match="needs the targets"):
        metric.update([FOUND])
    with pytest.raises(LtDetError, match="preds has 2 dictionaries for 1 image;"):
        metric.update([FOUND, FOUND], [BOX])
    with pytest.raises(LtDetError, match="image 9 is not in target"):
        metric.update({9: FOUND}, [BOX])
    metric = LongTailAP(DATA)
    metric.update({1: FOUND})
    with pytest.raises(LtDetError, match="image 1 occurs twice"):
        metric.update({1: FOUND})
    with pytest.raises(LtDetError, match="image 2 is not in the ground truth"):
        metric.update({2: FOUND})
    with pytest.raises(LtDetError, match="leave target out"):
        metric.update({1: FOUND}, [BOX])
    assert metric.compute().metrics["bbox"]["AP"] == pytest.approx(100)


def test_missing_detections_are_warned_of(caplog):
    with caplog.at_level(logging.WARNING):
        evaluate([BOX, BOX], [FOUND, {"boxes": [], "labels": [], "scores": []}])
    assert "1 of 2 images with objects have no detection" in caplog.text


@pytest.mark.parametrize("from_file", [True, False])
def test_accumulator_warns_of_unusual_detections_as_evaluate_does(world, caplog, from_file):
    data, detections = world
    first, second = sorted({entry["image_id"] for entry in detections})[:2]
    unusual = [next(entry for entry in detections if entry["image_id"] == image) for image in (first, second)]
    flat = [entry | {"bbox": [*entry["bbox"][:3], 0.0]} for entry in unusual]
    images = per_image(data, [*detections, *unusual, *flat])
    with caplog.at_level(logging.WARNING):
        evaluate(data, {image["id"]: found for image, found in zip(data["images"], images, strict=True)})
        expected = [record.getMessage() for record in caplog.records]
        assert sum("2 boxes" in message for message in expected) == 2  # without height, and duplicates
        caplog.clear()
        metric = LongTailAP(data) if from_file else LongTailAP()
        targets = per_image(data, data["annotations"])
        for image, found, target in zip(data["images"], images, targets, strict=True):
            if from_file:
                metric.update({image["id"]: found})
            else:
                metric.update([found], [target])
        assert not [message for message in caplog.messages if "boxes" in message]
        metric.compute()
    assert [m for m in caplog.messages if "boxes" in m] == [m for m in expected if "boxes" in m]


def test_warnings_name_the_argument_of_the_training_set(lvis_world, caplog):
    data, detections = lvis_world
    classes = [{key: category[key] for key in ("id", "name")} for category in data["categories"]]
    for categories in (classes, [*classes[:1], *data["categories"][1:]]):
        caplog.clear()
        evaluate(data | {"categories": categories}, detections)
        (message,) = [message for message in caplog.messages if "frequency" in message]
        assert "pass train (command line: --train-stats)" in message


def test_a_training_set_that_is_the_ground_truth(lvis_world, tmp_path, caplog):
    data = jittered_detections.world(1)
    classes = data["categories"]
    detections = [annotation | {"score": 0.5} for annotation in data["annotations"]]
    file, other = tmp_path / "val.json", tmp_path / "train.json"
    for path in (file, other):
        path.write_text(json.dumps(data))
    (tmp_path / "link.json").symlink_to(file)
    for train in (str(file), tmp_path / "link.json"):
        for buckets in (None, [1, 2]):
            caplog.clear()
            evaluate(file, detections, train=train, buckets=buckets)
            assert "training set is the ground truth itself" in caplog.text
    caplog.clear()
    evaluate(data, detections, train=data)
    assert "training set is the ground truth itself" in caplog.text
    caplog.clear()
    evaluate(file, detections, train=other)
    evaluate(file, detections)
    evaluate(file, detections, train=file, buckets={category["name"]: "all" for category in classes})
    evaluate(lvis_world[0], lvis_world[1], train=lvis_world[0])  # `frequency` defines the buckets
    assert "training set is the ground truth itself" not in caplog.text


def test_torchvision_masks_are_thresholded():
    mask = np.zeros((1, 30, 30))
    mask[0, 10:20, 10:20] = 1
    probabilities = torch.as_tensor(mask * 0.7 + 0.1)[:, None].requires_grad_()
    target = BOX | {"masks": torch.as_tensor(mask, dtype=torch.bool)}
    found = FOUND | {"masks": probabilities, "scores": torch.tensor([0.9], dtype=torch.bfloat16)}
    assert evaluate([target], [found], iou="segm").metrics["segm"]["AP"] == pytest.approx(100)


def test_needs_neither_torch_nor_detectron2():
    code = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "torchvision", "detectron2", "fvcore", "cv2", "pandas", "lvis"}:
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Block())
import lt_det.evaluation
from lt_det.evaluation import LongTailAP, evaluate
box = {"boxes": [[10, 10, 20, 20]], "labels": [3]}
metric = LongTailAP()
metric.update([box | {"scores": [0.9]}], [box])
assert metric.compute().to_dict() == evaluate([box], [box | {"scores": [0.9]}]).to_dict()
print(metric.compute())
try:
    metric.compute().to_dataframe()
except lt_det.LtDetError as error:
    print(error)
"""
    result = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True)
    assert "Boxes, in_memory (coco protocol)" in result.stdout, result.stderr
    assert "pandas, which is not installed" in result.stdout


@pytest.mark.parametrize("fits", [True, False])
def test_a_training_set_whose_counts_are_not_used(lvis_world, mini, tmp_path, caplog, fits):
    """The letters of the ground truth define the buckets also where a part of the training set is given."""
    train = load_annotations(mini.train_json)
    if not fits:
        train["images"] = train["images"][:20]
        ids = {image["id"] for image in train["images"]}
        train["annotations"] = [entry for entry in train["annotations"] if entry["image_id"] in ids]
    (tmp_path / "train.json").write_text(json.dumps(train))
    data, detections = lvis_world
    result = evaluate(data, detections, tmp_path / "train.json")
    assert ("by their images in " + str(tmp_path / "train.json") in caplog.text) == (not fits)
    letters = {"rare": "r", "common": "c", "frequent": "f"}
    frequency = {category["id"]: category["frequency"] for category in data["categories"]}
    assert all(letters[entry.bucket] == frequency[entry.id] for entry in result.per_class["bbox"])
    caplog.clear()
    evaluate(data, detections, tmp_path / "train.json", buckets=[10, 100])
    assert "defines the buckets" not in caplog.text


@pytest.mark.parametrize("convert", [np.int64, torch.tensor], ids=["NumPy", "tensors"])
def test_keys_of_any_type_are_ids(world, convert):
    data, detections = world
    by_id = dict(zip([image["id"] for image in data["images"]], per_image(data, detections), strict=True))
    converted = {convert(id_): arrays for id_, arrays in by_id.items()}
    expected = evaluate(data, by_id)
    same(evaluate(data, converted), expected)
    metric = LongTailAP(data)
    metric.update(converted)
    same(metric.compute(), expected)


def test_masks_that_are_logits():
    mask = np.full((1, 8, 8), -3.0)
    target, found = [BOX | {"masks": np.ones((1, 8, 8))}], FOUND | {"masks": mask}
    with pytest.raises(LtDetError, match="'masks' go from -3 to -3, so they may be logits"):
        evaluate(target, [found], iou="segm")
    for right in (np.ones((1, 8, 8)), np.full((1, 1, 8, 8), 0.9), np.full((1, 8, 8), 255.0)):
        assert evaluate(target, [FOUND | {"masks": right}], iou="segm").metrics["segm"]["AP"] == pytest.approx(100)


@pytest.mark.parametrize("classes", [["cup"], {"3": "cup"}, {"cup": 3}])
def test_classes_that_are_no_names_by_id(classes):
    with pytest.raises(LtDetError, match=r"classes must be a mapping"):
        evaluate([BOX], [FOUND], classes=classes)
    with pytest.raises(LtDetError, match=r"iou is 0.5"):
        evaluate([BOX], [FOUND], iou=0.5)
