"""The detections that are selected are Detectron2's, to the last bit."""

import pytest
import torch
from detectron2.modeling.roi_heads.fast_rcnn import fast_rcnn_inference

from lt_det.bakeoff.detections import select_detections


def proposals(generator, num_boxes, num_classes, *, coarse, columns=1):
    """Overlapping boxes, partly outside the image, and scores; coarse ones have equal overlaps and scores."""
    corner = torch.rand(num_boxes, columns, 2, generator=generator) * 100 - 10
    size = torch.rand(num_boxes, columns, 2, generator=generator) * 60
    scores = torch.randn(num_boxes, num_classes + 1, generator=generator).softmax(dim=1)
    if coarse:
        corner, size, scores = corner.round(), size.round(), (scores * 50).round() / 50
    return torch.cat([corner, corner + size], dim=2).flatten(1), scores


def assert_same_detections(boxes, scores, *options):
    found = select_detections(boxes.clone(), scores.clone(), (80, 90), *options)
    (expected,), _ = fast_rcnn_inference([boxes.clone()], [scores.clone()], [(80, 90)], *options)
    assert found.image_size == expected.image_size
    assert torch.equal(found.pred_boxes.tensor, expected.pred_boxes.tensor)
    assert torch.equal(found.scores, expected.scores)
    assert torch.equal(found.pred_classes, expected.pred_classes)
    return len(found)


@pytest.mark.parametrize("coarse", [False, True])
@pytest.mark.parametrize(("num_boxes", "num_classes"), [(60, 50), (100, 11), (7, 300), (30, 5), (1, 3)])
def test_detections_are_those_of_detectron2(num_boxes, num_classes, coarse):
    generator = torch.Generator().manual_seed(num_boxes)
    for options in ((0.0, 0.5, 40), (1e-3, 0.3, -1), (0.01, 0.7, 300)):
        assert assert_same_detections(*proposals(generator, num_boxes, num_classes, coarse=coarse), *options)


@pytest.mark.parametrize("columns", [1, 4])
@pytest.mark.parametrize(("num_boxes", "coarse"), [(400, False), (400, True), (900, False)])
def test_many_boxes_that_suppress_each_other(num_boxes, columns, coarse):
    """The first look finds too few detections, and the last one has too many boxes to compare all pairs."""
    generator = torch.Generator().manual_seed(0)
    boxes, scores = proposals(generator, num_boxes, 4, coarse=coarse, columns=columns)
    boxes[:, 2::4], boxes[:, 3::4] = boxes[:, 0::4] + 80, boxes[:, 1::4] + 80
    for wanted in (0, 300):
        assert assert_same_detections(boxes, scores, 0.0, 0.3, wanted) <= wanted


def test_boxes_and_scores_that_are_not_finite_are_dropped():
    boxes, scores = proposals(torch.Generator().manual_seed(0), 60, 50, coarse=False)
    boxes[3, 2], scores[4, 0], scores[5, 50] = float("nan"), float("inf"), float("nan")
    assert assert_same_detections(boxes, scores, 0.0, 0.5, 300) > 100


def test_a_box_for_each_class():
    generator = torch.Generator().manual_seed(0)
    boxes, scores = proposals(generator, 60, 50, coarse=False, columns=50)
    assert assert_same_detections(boxes, scores, 0.0, 0.5, 300) == 300


@pytest.mark.parametrize("num_boxes", [0, 40])
def test_no_detection(num_boxes):
    boxes, scores = proposals(torch.Generator().manual_seed(0), num_boxes, 40, coarse=False)
    assert assert_same_detections(boxes, scores, 0.99, 0.5, 300) == 0
