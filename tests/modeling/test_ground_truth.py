"""What the ROI heads say about the ground truth that a user's own dataset or mapper gives them."""

import pytest
import torch
from detectron2.data import MetadataCatalog
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage

from lt_det.errors import LtDetError
from tests.helpers.models import NUM_CLASSES, seeded_model, small_config, synthetic_batch

HEADS = ["LongTailROIHeads", "LongTailCascadeROIHeads"]


@pytest.fixture
def six_classes():
    """A registered name with one class more than the box head, as after a forgotten NUM_CLASSES."""
    MetadataCatalog.get("six_classes").thing_classes = list("abcdef")
    yield ("six_classes",)
    MetadataCatalog.pop("six_classes")


def losses(batch, head=HEADS[0], **overrides):
    model = seeded_model(small_config(head, **overrides)).train()
    torch.manual_seed(1)
    with EventStorage():
        return model(batch)


def labeled(label):
    batch = synthetic_batch()
    batch[0]["instances"].gt_classes[1] = label
    return batch


@pytest.mark.parametrize("head", HEADS)
def test_more_classes_in_the_data_than_in_the_head(head, six_classes):
    """Detectron2 trains the objects of the last class as background, without a word."""
    overrides = {"DATASETS.TRAIN": six_classes}
    with pytest.raises(LtDetError, match=r"label 5, .* has 5 classes .*NUM_CLASSES.* 'six_classes' has 6"):
        losses(labeled(NUM_CLASSES), head, **overrides)
    losses(labeled(NUM_CLASSES - 1), head, **overrides)  # a mapper that merges classes


@pytest.mark.parametrize("label", [NUM_CLASSES + 1, -100, -2])
def test_labels_that_are_no_class(label):
    with pytest.raises(LtDetError, match=f"An object has the label {label}, .* labels 0 to 4"):
        losses(labeled(label))


def test_labels_that_detectron2_knows():
    """Objects to ignore, and objects that a mapper makes background."""
    for label in (-1, NUM_CLASSES):
        assert all(value.isfinite() for value in losses(labeled(label)).values())


def test_labels_of_another_type():
    batch = synthetic_batch()
    batch[0]["instances"].gt_classes = batch[0]["instances"].gt_classes.float()
    with pytest.raises(LtDetError, match=r"gt_classes of a batch have the type torch\.float32"):
        losses(batch)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("head", HEADS)
def test_boxes_that_are_not_finite(head, value):
    """RoIAlign crashes on them."""
    batch = synthetic_batch()
    batch[0]["instances"].gt_boxes.tensor[1, 2] = value
    with pytest.raises(LtDetError, match="NaN or infinite"):
        losses(batch, head)


def test_boxes_without_area(caplog):
    batch = synthetic_batch()
    losses(batch)
    assert "without an area" not in caplog.text
    width_and_height = torch.tensor([60.0, 30, 20, 40])
    batch[0]["instances"].gt_boxes.tensor[1] = width_and_height
    losses(batch)
    assert "bbox_mode" in caplog.text


def test_more_classes_in_the_head_than_in_the_data(six_classes, caplog):
    MetadataCatalog.get(six_classes[0]).thing_classes.pop()
    losses(synthetic_batch(), **{"DATASETS.TRAIN": six_classes})
    assert "NUM_CLASSES" not in caplog.text
    MetadataCatalog.get(six_classes[0]).thing_classes.pop()
    losses(synthetic_batch(), **{"DATASETS.TRAIN": six_classes})
    assert "NUM_CLASSES is 5, but 'six_classes' has 4 classes" in caplog.text


def test_labels_in_a_users_own_heads():
    """They need not call lt_det's heads: the loss refuses the label before anything else fails on it."""
    boxes = Boxes(torch.tensor([[1.0, 2.0, 30.0, 40.0]]))
    labels = torch.tensor([NUM_CLASSES + 1])
    proposals = [Instances((64, 64), proposal_boxes=boxes, gt_boxes=boxes, gt_classes=labels)]
    predictor = seeded_model(small_config()).roi_heads.box_predictor.train()
    with EventStorage(), pytest.raises(LtDetError, match="targets from 0 to 5, but got 6"):
        predictor.losses(predictor(torch.rand(1, 64)), proposals)
