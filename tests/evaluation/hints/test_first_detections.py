"""Predictions in another convention are noticed where they arrive image by image."""

import json
import math

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, Instances

from lt_det.data import register_dataset
from lt_det.errors import LtDetError
from lt_det.evaluation import LongTailAP, LongTailEvaluator
from lt_det.evaluation.hints import first_detections
from lt_det.evaluation.matching.ground_truth import GroundTruth
from tests.helpers.jittered_detections import GOOD, HEIGHT, SIDES, WIDTH, corners, detections_of, world

IDS = (2, 3, 5, 7, 11)


@pytest.fixture
def truth():
    return GroundTruth.from_json(world(7, images=60, category_ids=IDS))


@pytest.fixture
def evaluator(tmp_path):
    (tmp_path / "hints_val.json").write_text(json.dumps(world(7, images=60, category_ids=IDS)))
    register_dataset("hints_val", tmp_path / "hints_val.json", tmp_path)
    yield LongTailEvaluator("hints_val")
    DatasetCatalog.remove("hints_val")
    MetadataCatalog.remove("hints_val")


def instances(boxes, scores, classes):
    found = Instances((HEIGHT, WIDTH))
    found.pred_boxes = Boxes(torch.as_tensor(boxes, dtype=torch.float32).reshape(-1, 4))
    found.scores, found.pred_classes = torch.as_tensor(scores), torch.as_tensor(classes)
    return found


@pytest.mark.parametrize(
    ("write", "shift", "scale", "words"),
    [
        (corners, 0, 1, ""),
        (lambda boxes: boxes, 0, 1, "as x, y, width, height in pixels"),
        (lambda boxes: corners(boxes) / SIDES, 0, 1, "fractions of the image"),
        (lambda boxes: corners(boxes) * 2.5, 0, 1, "resized by a factor of about"),
        (corners, 1, 1, "one above the class indices"),
        (corners, 0, 100, "divide them by 100"),
    ],
)
@pytest.mark.parametrize("kept", [20_000, 200])
def test_in_the_evaluator(evaluator, truth, caplog, monkeypatch, kept, write, shift, scale, words):
    monkeypatch.setattr(first_detections, "_KEPT", kept)
    monkeypatch.setattr("lt_det.evaluation.evaluator._IMAGES_PER_CALL", 4)
    found = detections_of(truth, GOOD, 7, clip=True)
    for image, image_id in enumerate(truth.image_ids.tolist()):
        mine = found.images == image
        classes = np.minimum(found.classes[mine] + shift, len(IDS) - 1)
        predicted = instances(write(found.boxes[mine]), found.scores[mine] * scale, classes)
        evaluator.process([{"image_id": image_id}], [{"instances": predicted}])
    evaluator.evaluate()
    assert words in caplog.text
    assert ("predictions for hints_val" in caplog.text) == bool(words)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("pred_classes", 5, r"class 5 in image 1, .* classes 0 to 4"),
        ("pred_classes", -1, "class -1 in image 1"),
        ("scores", math.nan, "1 of 2 boxes or scores .* image 1 are infinite or NaN"),
        ("pred_boxes", math.inf, "1 of 2 boxes or scores .* image 1 are infinite or NaN"),
    ],
)
def test_predictions_that_mean_nothing(evaluator, field, value, words):
    found = instances([[1, 1, 20, 20], [5, 5, 9, 9]], [0.5, 0.4], [3, 4])
    values = getattr(found, field)
    (values.tensor if field == "pred_boxes" else values)[1] = value
    with pytest.raises(LtDetError, match=words):
        evaluator.process([{"image_id": 1}], [{"instances": found}])


@pytest.mark.parametrize(
    ("write", "shift", "words"),
    [
        (corners, 0, ""),
        (lambda boxes: corners(boxes) / SIDES, 0, "fractions of the image"),
        (corners, 1, "would have it if their ids were one above the category ids"),
    ],
)
@pytest.mark.parametrize("with_file", [True, False])
def test_in_a_validation_loop(caplog, with_file, write, shift, words):
    """Batch by batch, with a file of the ground truth and with the targets of each batch."""
    if not with_file and "fractions" in words:
        pytest.skip("the sizes of the images are not known")
    truth = GroundTruth.from_json(world(7))
    found = detections_of(truth, GOOD, 7)
    labels = np.minimum(truth.category_ids[found.classes] + shift, 5)
    metric = LongTailAP(world(7) if with_file else None)
    for batch in (range(8, 14), range(8), range(14, 20)):
        for image in batch:
            here, mine = slice(truth.start[image], truth.start[image + 1]), found.images == image
            target = {"boxes": corners(truth.boxes[here]), "labels": truth.category_ids[truth.classes[here]]}
            image_id = int(truth.image_ids[image])
            predicted = {"boxes": write(found.boxes[mine]), "labels": labels[mine], "scores": found.scores[mine]}
            if with_file:
                metric.update({image_id: predicted})
            else:
                metric.update([predicted], [{"image_id": image_id, **target}])
    metric.compute()
    assert words in caplog.text
    assert ("overlap an object" in caplog.text) == bool(words)
