"""What is recorded is what the detector's own box predictors get: the detections follow from it to the last bit."""

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.modeling.roi_heads.fast_rcnn import FastRCNNOutputLayers, fast_rcnn_inference
from detectron2.structures import Boxes, Instances
from torch import nn

from lt_det.bakeoff.features.proposals import TestProposals
from lt_det.errors import LtDetError
from lt_det.modeling.recorder import recording
from tests.helpers import assert_same
from tests.helpers.frozen_detector import small_detector
from tests.helpers.models import small_config, synthetic_batch

HEADS = [
    ("StandardROIHeads", {}),
    ("LongTailROIHeads", {"MODEL.LONG_TAIL.LOSS.NAME": "seesaw"}),
    ("CascadeROIHeads", {}),
    ("LongTailCascadeROIHeads", {"MODEL.LONG_TAIL.LOSS.NAME": "sigmoid"}),
    ("Res5ROIHeads", {}),
    ("LongTailRes5ROIHeads", {"MODEL.LONG_TAIL.LOSS.NAME": "cdt"}),
]


def predictors_of(model):
    found = model.roi_heads.box_predictor
    return list(found) if isinstance(found, nn.ModuleList) else [found]


def detections(model, columns, record):
    """What the detector's predictors make of cached proposals."""
    size = tuple(columns["network_sizes"][0])
    scores, boxes = [], torch.empty(0)
    for stage, predictor in enumerate(predictors_of(model)):
        proposals = [Instances(size, proposal_boxes=Boxes(torch.as_tensor(columns[f"proposals_{stage}"])))]
        predictions = predictor(torch.as_tensor(columns[f"features_{stage}"]))
        scores += predictor.predict_probs(predictions, proposals)
        (boxes,) = predictor.predict_boxes(predictions, proposals)
    mean = sum(scores) * (1.0 / len(scores)) if len(scores) > 1 else scores[0]
    (found,), _ = fast_rcnn_inference([boxes], [mean], [size], 0.0, 0.5, 100)
    return model._postprocess([found], [record], [size])[0]["instances"]


@pytest.mark.parametrize(("roi_heads", "overrides"), HEADS, ids=[name for name, _ in HEADS])
def test_detections_follow_from_the_recorded_proposals(stats_file, roi_heads, overrides):
    model = small_detector(roi_heads, **{"MODEL.LONG_TAIL.CLASS_STATS": stats_file, **overrides})
    found = TestProposals(model)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    record = {**synthetic_batch()[0], "height": 120, "width": 100}
    columns = found(record)
    with torch.no_grad():
        expected = model([record])[0]["instances"]
        cached = detections(model, columns, record)
    assert len(expected) > 5
    assert_same(cached.pred_boxes.tensor, expected.pred_boxes.tensor)
    assert_same(cached.scores, expected.scores)
    assert_same(cached.pred_classes, expected.pred_classes)
    assert columns["counts"] == len(columns["features_0"]) == len(columns["proposals_0"])
    assert columns["sizes"].tolist() == [[120, 100]]
    assert_same(dict(model.state_dict()), state)  # the model is as before


class MyPredictor(FastRCNNOutputLayers):
    pass


def test_predictor_of_another_class():
    model = build_model(small_config("StandardROIHeads"))
    predictor = model.roi_heads.box_predictor
    predictor.__class__ = MyPredictor
    message = "box predictor of StandardROIHeads is a MyPredictor"
    with pytest.raises(LtDetError, match=message), recording(model.roi_heads):
        pass
    assert model.roi_heads.box_predictor is predictor


def test_detector_without_box_predictor():
    with pytest.raises(LtDetError, match=r"no box predictor .* \(Linear\)"), recording(nn.Linear(1, 1)):
        pass
