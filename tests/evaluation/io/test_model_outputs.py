"""What a user's own model returns to `LongTailEvaluator`: what can be evaluated is, and the rest is one sentence."""

import json

import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, Instances, RotatedBoxes

from lt_det.data import register_dataset
from lt_det.errors import LtDetError
from lt_det.evaluation import LongTailEvaluator

SIDE, BOX = 60, [10, 10, 20, 30]
IMAGES = range(1, 71)  # more than are matched in one call
RLE = [[10, 10, 30, 10, 30, 40, 10, 40]]


@pytest.fixture(params=[True, False], ids=["masks", "boxes"])
def with_masks(request):
    return request.param


@pytest.fixture
def evaluator(tmp_path, with_masks):
    objects = [{"id": i, "image_id": i, "category_id": 1, "bbox": BOX, "area": 600, "iscrowd": 0} for i in IMAGES]
    truth = {
        "images": [{"id": i, "height": SIDE, "width": SIDE} for i in IMAGES],
        "annotations": [each | ({"segmentation": RLE} if with_masks else {}) for each in objects],
        "categories": [{"id": 1, "name": "cup"}],
    }
    (tmp_path / "val.json").write_text(json.dumps(truth))
    register_dataset("outputs_val", tmp_path / "val.json", tmp_path)
    yield LongTailEvaluator("outputs_val")
    DatasetCatalog.remove("outputs_val")
    MetadataCatalog.remove("outputs_val")


def found(number=1, masks=True, size=SIDE):
    """Exact detections of the object of an image."""
    instances = Instances((SIDE, SIDE))
    instances.pred_boxes = Boxes(torch.tensor([[10.0, 10, 30, 40]] * number).reshape(-1, 4))
    instances.scores = torch.full((number,), 0.5)
    instances.pred_classes = torch.zeros(number, dtype=torch.int64)
    if masks:
        instances.pred_masks = torch.zeros(number, size, size, dtype=torch.bool)
        instances.pred_masks[:, 10:40, 10:30] = True
    return instances


def evaluated(evaluator, output_of):
    for image in IMAGES:
        evaluator.process([{"image_id": image}], [output_of(image)])
    return {task: metrics["AP"] for task, metrics in evaluator.evaluate().items()}


def changed(**fields):
    instances = found()
    for name, value in fields.items():
        instances.set(name, value)
    return {"instances": instances}


def without(name):
    instances = found()
    instances.remove(name)
    return {"instances": instances}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"scores": torch.tensor([0.5], requires_grad=True)},
        {"scores": torch.tensor([0.5], dtype=torch.bfloat16)},
        {"pred_boxes": Boxes(torch.tensor([[10.0, 10, 30, 40]], requires_grad=True))},
        {"pred_masks": found().pred_masks.float()},
    ],
)
def test_values_of_any_kind(evaluator, with_masks, caplog, fields):
    assert evaluated(evaluator, lambda image: changed(**fields)) == {
        "bbox": 100,
        **({"segm": 100} if with_masks else {}),
    }
    assert not [record for record in caplog.records if "output for image" in record.message]


@pytest.mark.parametrize("empty", ["first", "last"])
def test_images_without_detections_may_lack_masks(evaluator, with_masks, empty):
    """As in a model of a user's own; whole calls of the matching may have no detections at all."""
    nothing = range(1, 70) if empty == "first" else range(2, 71)
    result = evaluated(
        evaluator, lambda image: {"instances": found(int(image not in nothing), masks=image not in nothing)}
    )
    assert 0 < result["bbox"] < 10
    assert ("segm" in result) == with_masks


def test_a_model_without_masks(evaluator):
    assert evaluated(evaluator, lambda image: {"instances": found(image % 2, masks=False)}).keys() == {"bbox"}


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ({"sem_seg": 0}, "a dictionary with sem_seg"),
        ({"boxes": [], "labels": [], "scores": []}, "boxes, labels, scores"),
        ({"instances": None}, "NoneType"),
        (found(), "type Instances"),
        (None, "NoneType"),
        (without("scores"), "without scores"),
        (without("pred_boxes"), "without pred_boxes"),
        ({"instances": Instances((SIDE, SIDE))}, "with nothing; add pred_boxes, scores, pred_classes"),
        (changed(pred_classes=torch.tensor([0.0])), "float32"),
        (changed(pred_boxes=RotatedBoxes(torch.tensor([[20.0, 25, 20, 30, 0]]))), "boxes of 5 numbers"),
        (changed(pred_masks=torch.full((1, SIDE, SIDE), 0.7)), "pred_masks from 0.7 to 0.7; threshold"),
        (changed(pred_masks=torch.full((1, SIDE, SIDE), -3.0)), "from -3 to -3"),
        (changed(pred_masks=torch.ones(1, 1, 28, 28)), r"shape \(1, 1, 28, 28\)"),
    ],
)
def test_what_cannot_be_evaluated(evaluator, output, words):
    with pytest.raises(LtDetError, match=f"output for image 1 .*{words}"):
        evaluated(evaluator, lambda image: output)


def test_masks_in_some_images(evaluator):
    with pytest.raises(LtDetError, match="output for image 2 has no pred_masks"):
        evaluated(evaluator, lambda image: {"instances": found(masks=image != 2)})


def test_masks_of_another_size(evaluator, with_masks, caplog):
    """They match nothing, which is said once; where masks are not evaluated, it does not matter."""
    result = evaluated(evaluator, lambda image: {"instances": found(size=2 * SIDE)})
    assert result["bbox"] == 100
    assert result.get("segm", 0) == 0
    assert caplog.text.count("image 1 has masks of 120 x 120 pixels") == with_masks
    assert caplog.text.count("has masks of") == with_masks
