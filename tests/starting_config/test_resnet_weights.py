"""The detector that a file of weights holds, from the names and shapes of its weights."""

from pathlib import Path

import pytest
import torch
from detectron2 import model_zoo
from detectron2.modeling import build_model

from lt_det.errors import LtDetError
from lt_det.starting_config.resnet_weights import resnet_detector

FILE = Path("model.pkl")


def shapes_of(config, **keys):
    """The shapes of the weights of a config in Detectron2's model zoo, as its own models have them."""
    cfg = model_zoo.get_config(config)
    for key, value in keys.items():
        cfg.merge_from_list([key.replace("__", "."), value])
    cfg.MODEL.DEVICE = "meta"
    with torch.device("meta"):
        model = build_model(cfg)
    return {name: tuple(weight.shape) for name, weight in model.state_dict().items()}, cfg


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ("COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml", "Faster R-CNN R50-FPN"),
        ("COCO-Detection/faster_rcnn_R_101_FPN_3x.yaml", "Faster R-CNN R101-FPN"),
        ("COCO-Detection/faster_rcnn_X_101_32x8d_FPN_3x.yaml", "Faster R-CNN X101-FPN"),
        ("COCO-Detection/faster_rcnn_R_50_C4_3x.yaml", "Faster R-CNN R50-C4"),
        ("COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml", "Mask R-CNN R50-FPN"),
        ("COCO-InstanceSegmentation/mask_rcnn_R_50_C4_3x.yaml", "Mask R-CNN R50-C4"),
        ("Misc/cascade_mask_rcnn_R_50_FPN_3x.yaml", "Cascade Mask R-CNN R50-FPN"),
        ("LVISv0.5-InstanceSegmentation/mask_rcnn_X_101_32x8d_FPN_1x.yaml", "Mask R-CNN X101-FPN"),
        ("COCO-Keypoints/keypoint_rcnn_R_50_FPN_3x.yaml", "Faster R-CNN R50-FPN"),
    ],
)
def test_detectors_of_the_model_zoo(config, name):
    shapes, cfg = shapes_of(config)
    found = resnet_detector(shapes, FILE)
    assert found.name == name
    assert found.has_masks == cfg.MODEL.MASK_ON
    assert found.has_keypoints == cfg.MODEL.KEYPOINT_ON
    assert found.num_classes == cfg.MODEL.ROI_HEADS.NUM_CLASSES
    for key, value in found.keys.items():  # what the config has to say, other than that the heads are lt_det's
        if key != "MODEL.ROI_HEADS.NAME":
            theirs = cfg
            for part in key.split("."):
                theirs = theirs[part]
            assert (list(theirs) if isinstance(theirs, tuple) else theirs) == value, key


@pytest.mark.parametrize(("extra_rows", "is_softmax"), [(0, False), (1, True), (2, False)])
def test_classes_of_a_classifier_with_other_rows(extra_rows, is_softmax):
    """Sigmoid losses without background, softmax or sigmoid with it, Seesaw."""
    shapes, _ = shapes_of("COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml")
    shapes["roi_heads.box_predictor.cls_score.weight"] = (80 + extra_rows, 1024)
    found = resnet_detector(shapes, FILE)
    assert (found.num_classes, found.has_softmax_rows) == (80, is_softmax)


@pytest.fixture(scope="module")
def agnostic():
    """Shapes of a detector whose classes share boxes, so that only the rows of the classifier depend on them."""
    shapes, _ = shapes_of(
        "COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml", MODEL__ROI_BOX_HEAD__CLS_AGNOSTIC_BBOX_REG=True
    )
    return shapes


def read(shapes, rows, file=FILE, heads=None):
    found = resnet_detector({**shapes, "roi_heads.box_predictor.cls_score.weight": (rows, 1024)}, file, heads)
    return found.num_classes, found.has_softmax_rows


def test_classes_that_share_boxes_are_read_from_the_config_beside_the_weights(agnostic, tmp_path):
    file = tmp_path / "model_final.pth"
    (tmp_path / "config.yaml").write_text("MODEL: {ROI_HEADS: {NUM_CLASSES: 80}}\n")
    assert [read(agnostic, rows, file) for rows in (80, 81, 82)] == [(80, False), (80, True), (80, False)]
    assert read(agnostic, 21, file) == (20, True)  # that of another detector


def test_classes_that_share_boxes_are_read_from_the_loss_in_the_checkpoint(agnostic):
    assert read(agnostic, 82, heads=["seesaw on Linear"]) == (80, False)
    assert read(agnostic, 81, heads=["eql on Linear"]) == (80, True)
    assert read(agnostic, 81, heads=["SeesawLoss on CosineClassifier"]) == (79, False)


def test_without_a_record_classes_that_share_boxes_have_a_background(agnostic):
    assert read(agnostic, 81) == read(agnostic, 81, heads=["unknown on Linear"]) == (80, True)


def test_other_sizes_are_read():
    shapes, _ = shapes_of(
        "COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml",
        MODEL__FPN__OUT_CHANNELS=32,
        MODEL__ROI_BOX_HEAD__FC_DIM=64,
        MODEL__ROI_BOX_HEAD__NUM_FC=1,
    )
    assert resnet_detector(shapes, FILE).keys == {
        "MODEL.RESNETS.DEPTH": 50,
        "MODEL.FPN.OUT_CHANNELS": 32,
        "MODEL.ROI_BOX_HEAD.FC_DIM": 64,
        "MODEL.ROI_BOX_HEAD.NUM_FC": 1,
    }


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ("COCO-Detection/retinanet_R_50_FPN_3x.yaml", "one-stage"),
        ("COCO-Detection/faster_rcnn_R_50_DC5_3x.yaml", "no FPN"),
        ("COCO-Detection/rpn_R_50_FPN_1x.yaml", "other than a detector"),
        ("Misc/mask_rcnn_R_50_FPN_3x_gn.yaml", "no batch norm"),
    ],
)
def test_other_detectors_are_refused(config, why):
    shapes, _ = shapes_of(config)
    with pytest.raises(LtDetError, match=rf"{FILE}: .*{why}"):
        resnet_detector(shapes, FILE)


@pytest.mark.parametrize(
    ("weight", "shape", "why"),
    [
        ("proposal_generator.rpn_head.objectness_logits.weight", (9, 256, 1, 1), "9 anchors"),
        ("backbone.bottom_up.res5.0.conv2_offset.weight", (18, 512, 3, 3), "deformable"),
        ("roi_heads.box_head.conv1.weight", (256, 256, 3, 3), "convolutions"),
    ],
)
def test_other_parts_are_refused(weight, shape, why):
    shapes, _ = shapes_of("COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml")
    with pytest.raises(LtDetError, match=rf"{FILE}: .*{why}"):
        resnet_detector(shapes | {weight: shape}, FILE)
