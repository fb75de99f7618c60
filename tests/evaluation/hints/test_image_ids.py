"""Image ids that are file names, numbers in them, positions, or those of other images."""

import json
import logging

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, Instances
from pycocotools import mask as mask_utils

from lt_det.data import register_dataset
from lt_det.errors import LtDetError
from lt_det.evaluation import LongTailAP, LongTailEvaluator, evaluate
from lt_det.evaluation.hints.image_id_readings import ImageIds
from lt_det.evaluation.matching.ground_truth import GroundTruth
from tests.helpers.jittered_detections import BAD, GOOD, HEIGHT, WEAK, WIDTH, corners, detections_of, world

IMAGES = 20


def ground_truth(seed=3):
    """Ids from 5 on, in an order that is neither that of the list nor that of the file names."""
    data = world(seed, images=IMAGES)
    order = np.random.default_rng(seed).permutation(IMAGES)
    ids = {image["id"]: int(place) + 5 for image, place in zip(data["images"], order, strict=True)}
    numbers = np.random.default_rng(seed + 1).permutation(IMAGES)
    for image, number in zip(data["images"], numbers, strict=True):
        image["id"], image["file_name"] = ids[image["id"]], f"val/photo_{number:04d}.jpg"
    for annotation in data["annotations"]:
        annotation["image_id"] = ids[annotation["image_id"]]
    return data


def results_of(data, quality=GOOD, masks=False):
    truth = GroundTruth.from_json(data)
    found = detections_of(truth, quality, 5)
    results = []
    for image, label, score, box in zip(found.images, found.classes, found.scores, found.boxes, strict=True):
        result = {"image_id": int(truth.image_ids[image]), "category_id": int(truth.category_ids[label])}
        result |= {"score": float(score), "bbox": box.tolist()}
        if masks:
            x, y, w, h = box.tolist()
            polygon = [x, y, x + w, y, x + w, y + h, x, y + h]
            result["segmentation"] = mask_utils.frPyObjects([polygon], HEIGHT, WIDTH)[0]
            del result["bbox"]
        results.append(result)
    return results


def renamed(results, meaning):
    return [result | {"image_id": meaning[result["image_id"]]} for result in results]


def meanings(data):
    """By words of the hint: what stands for each image id."""
    listed, ids = data["images"], sorted(image["id"] for image in data["images"])
    by_name = sorted(listed, key=lambda image: image["file_name"])
    return {
        "file names:": {image["id"]: image["file_name"] for image in listed},
        "file names without the extension": {image["id"]: image["file_name"][4:-4] for image in listed},
        "the numbers in the file names": {image["id"]: int(image["file_name"][-8:-4]) for image in listed},
        "other zeros in front": {id_: f"{id_:012d}" for id_ in ids},
        "as they are listed, counted from 0": {image["id"]: place for place, image in enumerate(listed)},
        "in the order of their ids, counted from 1": {id_: place for place, id_ in enumerate(ids, 1)},
        "in the order of their file names, counted from 1": {image["id"]: n for n, image in enumerate(by_name, 1)},
        "one below": {id_: id_ - 1 for id_ in ids},
        "one above": {id_: id_ + 1 for id_ in ids},
    }


# Positions all are numbers from 0 or 1 to the number of images: the error names the first of them.
UNKNOWN = ["file names:", "file names without the extension", "other zeros in front", "one above"]


@pytest.mark.parametrize("words", UNKNOWN)
def test_ids_that_are_unknown(words):
    data = ground_truth()
    with pytest.raises(LtDetError, match=f"'image_id' the ground truth does not have.* could be .*{words}"):
        evaluate(data, renamed(results_of(data), meanings(data)[words]))


@pytest.mark.parametrize("found", [["nowhere.jpg"], [99], ["photo_0001", 99], [None]])
def test_unknown_ids_that_mean_nothing(found):
    assert ImageIds(ground_truth()["images"]).hint(found) == ""


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("words", [word for word in meanings(ground_truth()) if word not in UNKNOWN[:3]])
def test_ids_of_other_images(caplog, words, masks):
    """Those that exist belong to other images, and AP is low without an error."""
    data = ground_truth()
    ids = {image["id"] for image in data["images"]}
    results = [r for r in renamed(results_of(data, masks=masks), meanings(data)[words]) if r["image_id"] in ids]
    if masks:
        for annotation in data["annotations"]:
            x, y, w, h = annotation["bbox"]
            annotation["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
    metrics = evaluate(data, results, iou="segm" if masks else "bbox").metrics
    assert metrics["segm" if masks else "bbox"]["AP"] < 20
    assert "overlap an object of their class in the image with their id" in caplog.text
    assert words in caplog.text


@pytest.mark.parametrize("quality", [GOOD, WEAK, BAD])
def test_right_ids_are_not_suspected(caplog, quality):
    for seed in range(8):
        data = ground_truth(seed)
        evaluate(data, results_of(data, quality))
    assert "image ids" not in caplog.text


def test_frames_of_a_video_are_not_suspected(caplog):
    """The objects hardly move: detections fit the image before as well."""
    data = ground_truth()
    first = [a for a in data["annotations"] if a["image_id"] == data["images"][0]["id"]]
    data["annotations"] = [
        {**annotation, "id": 100 * number + k, "image_id": image["id"]}
        for number, image in enumerate(data["images"])
        for k, annotation in enumerate(first)
    ]
    evaluate(data, results_of(data, WEAK))
    assert "image ids" not in caplog.text


def test_in_loops(tmp_path, caplog):
    """A user's records with positions for ids, in the evaluator of Detectron2 and in `LongTailAP`."""
    data = ground_truth()
    (tmp_path / "val.json").write_text(json.dumps(data))
    register_dataset("image_ids_val", tmp_path / "val.json", tmp_path)
    evaluator, metric = LongTailEvaluator("image_ids_val"), LongTailAP(data)
    truth = GroundTruth.from_json(data)
    found = detections_of(truth, GOOD, 5)
    for image, id_ in enumerate(np.roll(truth.image_ids, -1).tolist()[:-1]):
        mine = found.images == image
        boxes, scores, classes = corners(found.boxes[mine]), found.scores[mine], found.classes[mine]
        instances = Instances((HEIGHT, WIDTH))
        instances.pred_boxes = Boxes(torch.as_tensor(boxes, dtype=torch.float32))
        instances.scores, instances.pred_classes = torch.as_tensor(scores), torch.as_tensor(classes)
        evaluator.process([{"image_id": id_}], [{"instances": instances}])
        metric.update({id_: {"boxes": boxes, "scores": scores, "labels": truth.category_ids[classes]}})
    for compute in (evaluator.evaluate, metric.compute):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            compute()
        assert "if their image ids were one above the image ids" in caplog.text
    DatasetCatalog.remove("image_ids_val")
    MetadataCatalog.remove("image_ids_val")
