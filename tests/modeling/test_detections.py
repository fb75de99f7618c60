"""The detections that are selected are Detectron2's, to the last bit."""

import pytest
import torch
from detectron2.modeling.roi_heads.fast_rcnn import fast_rcnn_inference
from torchvision.ops import nms

from lt_det.modeling import detections
from lt_det.modeling.detections import select_detections
from tests.helpers.models import seeded_model, small_config, synthetic_batch


def proposals(generator, num_boxes, num_classes, *, coarse, columns=1):
    """Overlapping boxes, partly outside the image, and scores; coarse ones have equal overlaps and scores."""
    corner = torch.rand(num_boxes, columns, 2, generator=generator) * 100 - 10
    size = torch.rand(num_boxes, columns, 2, generator=generator) * 60
    scores = torch.randn(num_boxes, num_classes + 1, generator=generator).softmax(dim=1)
    if coarse:
        corner, size, scores = corner.round(), size.round(), (scores * 50).round() / 50
    return torch.cat([corner, corner + size], dim=2).flatten(1), scores


def assert_same_detections(boxes, scores, *options):
    (found,), (rows,) = select_detections([boxes.clone()], [scores.clone()], [(80, 90)], *options)
    (expected,), (expected_rows,) = fast_rcnn_inference([boxes.clone()], [scores.clone()], [(80, 90)], *options)
    assert torch.equal(rows, expected_rows)
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


def class_by_class(boxes, scores, classes):
    """Row and class of what `nms` keeps of each class, among scores above 0.01."""
    kept = set()
    for k in classes:
        rows = (scores[:, k] > 0.01).nonzero().squeeze(1)
        kept |= {(int(r), k) for r in rows[nms(boxes[rows], scores[rows, k], 0.5)]}
    return kept


def test_many_classes_do_not_round_the_boxes():
    """Torchvision shifts the boxes of class 13,000 by 17 million pixels, where float32 has steps of two."""
    generator = torch.Generator().manual_seed(0)
    boxes, few = proposals(generator, 60, 9, coarse=False)
    scores = torch.zeros(60, 13_205)
    scores[:, 13_190:13_200] = few
    boxes[0] = torch.tensor([1000.0, 700.0, 1332.0, 799.0])
    size, options = (800, 1333), (0.01, 0.5, -1)
    (found,), (rows,) = select_detections([boxes], [scores], [size], *options)
    boxes[:, 0::2], boxes[:, 1::2] = boxes[:, 0::2].clamp(0, 1333), boxes[:, 1::2].clamp(0, 800)
    expected = class_by_class(boxes, scores, range(13_190, 13_200))
    assert set(zip(rows.tolist(), found.pred_classes.tolist(), strict=True)) == expected
    assert len(found) == len(expected)
    (stock,), (stock_rows,) = fast_rcnn_inference([boxes], [scores], [size], *options)
    assert set(zip(stock_rows.tolist(), stock.pred_classes.tolist(), strict=True)) != expected


@pytest.mark.parametrize("wanted", [20, 100, 250, 300])
def test_a_first_look_at_few_candidates_does_not_round_the_boxes(wanted):
    """Detectron2 suppresses more than 1000 candidates class by class; fewer would be shifted, here to steps of 0.25."""
    boxes, few = proposals(torch.Generator().manual_seed(0), 120, 11, coarse=False)
    boxes, scores = boxes / 8, torch.zeros(120, 3001)
    boxes[0] = torch.tensor([1300.0, 770.0, 1332.0, 799.0])
    scores[:, 2988:3000] = few
    assert (scores > 0.01).sum() > 1000
    (found,), (rows,) = select_detections([boxes], [scores], [(800, 1333)], 0.01, 0.5, wanted)
    (expected,), (expected_rows,) = fast_rcnn_inference([boxes], [scores], [(800, 1333)], 0.01, 0.5, wanted)
    assert torch.equal(rows, expected_rows)
    assert torch.equal(found.pred_classes, expected.pred_classes)


@pytest.mark.parametrize("coarse", [False, True])
def test_suppression_on_a_gpu_is_that_of_each_class(coarse):
    generator = torch.Generator().manual_seed(1)
    boxes, scores = proposals(generator, 50, 20, coarse=coarse)
    rows, classes = (scores[:, :-1] > 0.01).nonzero(as_tuple=True)
    values = scores[rows, classes]
    kept = detections._shifted_nms(boxes[rows], classes, values, 0.5)
    assert {(int(rows[i]), int(classes[i])) for i in kept} == class_by_class(boxes, scores, range(20))
    assert (values[kept].diff() <= 0).all()
    assert len(detections._shifted_nms(boxes[:0], classes[:0], values[:0], 0.5)) == 0


STOCK = {"LongTailROIHeads": "StandardROIHeads", "LongTailCascadeROIHeads": "CascadeROIHeads"}


@pytest.mark.parametrize("head", STOCK)
def test_heads_look_at_the_best_candidates_only(monkeypatch, head):
    """With every class of every proposal above the threshold, and the detections of the stock head."""
    many = {"MODEL.ROI_HEADS.NUM_CLASSES": 300, "TEST.DETECTIONS_PER_IMAGE": 30, "MODEL.RPN.POST_NMS_TOPK_TEST": 40}
    looked_at = []
    original = detections._non_maximum_suppression

    def counted(boxes, indices, *others):
        looked_at.append(len(indices))
        return original(boxes, indices, *others)

    monkeypatch.setattr(detections, "_non_maximum_suppression", counted)
    found = [inference(seeded_model(small_config(name, **many))) for name in (head, STOCK[head])]
    assert looked_at, "this head selects detections by another function"
    assert max(looked_at) < 300 * 40 / 4
    for mine, theirs in zip(*found, strict=True):
        assert len(mine) == 30
        assert torch.equal(mine.pred_boxes.tensor, theirs.pred_boxes.tensor)
        assert torch.equal(mine.scores, theirs.scores)
        assert torch.equal(mine.pred_classes, theirs.pred_classes)


def inference(model):
    model.eval()
    with torch.no_grad():
        return [output["instances"] for output in model(synthetic_batch())]
