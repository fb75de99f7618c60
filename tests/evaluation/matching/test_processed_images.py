"""Images that come again, in parts, or not at all. The numbers are those of all detections of each image, once."""

import json
import logging

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, Instances

from lt_det.data import register_dataset
from lt_det.errors import LtDetError
from lt_det.evaluation import LongTailAP, LongTailEvaluator, evaluate
from lt_det.evaluation.matching.ground_truth import GroundTruth
from tests.helpers.jittered_detections import GOOD, HEIGHT, WIDTH, corners, detections_of, world

IMAGES = 70  # more than are matched in one call


@pytest.fixture(scope="module")
def json_file(tmp_path_factory):
    file = tmp_path_factory.mktemp("processed") / "val.json"
    file.write_text(json.dumps(world(7, images=IMAGES)))
    return file


@pytest.fixture
def evaluator(json_file):
    register_dataset("processed_val", json_file, json_file.parent)
    yield LongTailEvaluator("processed_val")
    DatasetCatalog.remove("processed_val")
    MetadataCatalog.remove("processed_val")


@pytest.fixture(scope="module")
def outputs():
    """Image id and detections of each image."""
    truth = GroundTruth.from_json(world(7, images=IMAGES))
    found = detections_of(truth, GOOD, 7)
    result = []
    for image, image_id in enumerate(truth.image_ids.tolist()):
        mine = found.images == image
        instances = Instances((HEIGHT, WIDTH))
        instances.pred_boxes = Boxes(torch.as_tensor(corners(found.boxes[mine]), dtype=torch.float32))
        instances.scores = torch.as_tensor(found.scores[mine], dtype=torch.float32)
        instances.pred_classes = torch.as_tensor(found.classes[mine])
        result.append((image_id, instances))
    return result


def feed(evaluator, outputs):
    for image_id, instances in outputs:
        evaluator.process([{"image_id": image_id}], [{"instances": instances}])


def same(first, second):
    return str(first) == str(second)  # as text, because nan is not nan


def test_an_image_that_comes_again_counts_once(evaluator, outputs, caplog):
    feed(evaluator, outputs)
    expected = evaluator.evaluate()
    assert not caplog.records
    evaluator.reset()
    feed(evaluator, [*outputs, *outputs[:3], outputs[-1]])  # of the first batch, and of the one that is not matched yet
    assert same(evaluator.evaluate(), expected)
    assert "4 images of processed_val came more than once" in caplog.text


def test_detections_of_an_image_in_parts_are_those_of_the_image(evaluator, outputs):
    """As of tiles, also across the end of a batch."""
    feed(evaluator, outputs)
    expected = evaluator.evaluate()
    evaluator.reset()
    feed(evaluator, [(id_, part) for id_, found in outputs for part in (found[:1], found[1:]) if len(part)])
    assert same(evaluator.evaluate(), expected)


def test_another_evaluation_without_reset(evaluator, outputs):
    feed(evaluator, outputs)
    evaluator.evaluate()
    image_id, found = next(output for output in outputs if len(output[1]))
    found = found[:]
    found.scores = found.scores / 2
    with pytest.raises(LtDetError, match=rf"Image {image_id} .*reset\(\)"):
        feed(evaluator, [(image_id, found)])


def test_images_that_never_come(evaluator, outputs, json_file, caplog):
    feed(evaluator, outputs[:9])
    metrics = evaluator.evaluate()["bbox"]
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "9 of the 70 images of processed_val were evaluated" in caplog.text
    detections = {
        image_id: {
            "boxes": found.pred_boxes.tensor.numpy(),
            "scores": found.scores.numpy(),
            "labels": np.asarray(GroundTruth.from_json(world(7)).category_ids)[found.pred_classes.numpy()],
        }
        for image_id, found in outputs[:9]
    }
    assert same(metrics["AP"], evaluate(json_file, detections).metrics["bbox"]["AP"])


def test_one_image_of_many(evaluator, outputs, caplog):
    image_id, found = outputs[0]
    part = evaluator.of_images([image_id])
    feed(part, [(image_id, found)])
    part.evaluate()
    assert not caplog.records


@pytest.mark.parametrize("record", [{"image_id": -5}, {"image_id": "a"}, {}])
def test_an_image_of_another_dataset(evaluator, outputs, record):
    with pytest.raises(LtDetError, match="images are not in 'processed_val'"):
        evaluator.process([record], [{"instances": outputs[0][1]}])


@pytest.mark.parametrize("protocol", ["coco", "fixed"])
@pytest.mark.parametrize("evaluated", [0, 30, IMAGES])
def test_a_validation_loop_over_some_images_only(outputs, caplog, protocol, evaluated):
    """As in each of several processes: the objects of the other images count as missed, which is said."""
    data = world(7, images=IMAGES)
    data["images"] = [image | {"neg_category_ids": [1], "not_exhaustive_category_ids": []} for image in data["images"]]
    metric = LongTailAP(data, protocol=protocol)
    for image_id, instances in outputs[:evaluated]:
        boxes, labels = instances.pred_boxes.tensor, instances.pred_classes + 1
        metric.update({image_id: {"boxes": boxes, "labels": labels, "scores": instances.scores}})
    metric.compute()
    assert (f"30 of the {IMAGES} images" in caplog.text) == (evaluated == 30)
    assert ("were evaluated" in caplog.text) == (evaluated == 30)
