"""Misspelled names of Detectron2's parts: Detectron2's own errors become the key and the name that was meant."""

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.solver import build_lr_scheduler, build_optimizer
from torch import nn

from lt_det.errors import LtDetError
from lt_det.training import load_config
from lt_det.training.detectron2_keys.part_names import misspelled_part
from lt_det.training.diagnostics import explained

MODEL = {
    "MODEL.META_ARCHITECTURE": ("generalizedRCNN", "GeneralizedRCNN"),
    "MODEL.BACKBONE.NAME": ("build_mini", "build_mini_backbone"),
    "MODEL.PROPOSAL_GENERATOR.NAME": ("RPNN", "RPN"),
    "MODEL.RPN.HEAD_NAME": ("RPNHead", "StandardRPNHead"),
    "MODEL.ANCHOR_GENERATOR.NAME": ("Default", "DefaultAnchorGenerator"),
    "MODEL.ROI_BOX_HEAD.NAME": ("FastRCNNConvFC", "FastRCNNConvFCHead"),
    "MODEL.ROI_BOX_HEAD.POOLER_TYPE": ("ROIAlignV3", "ROIAlignV2"),
}


@pytest.mark.parametrize("key", MODEL)
def test_of_the_network(key):
    name, meant = MODEL[key]
    cfg = load_config("mini_lvis_softmax", [key, name, "MODEL.DEVICE", "cpu"])
    with pytest.raises(LtDetError) as error, explained("It fails"):
        build_model(cfg)
    assert key.rpartition(".")[2] in str(error.value)
    assert f"'{name}'" in str(error.value)
    assert f"did you mean {meant}?" in str(error.value)


@pytest.mark.parametrize(
    ("key", "name", "meant"),
    [
        ("SOLVER.LR_SCHEDULER_NAME", "Cosine", "WarmupCosineLR"),
        ("SOLVER.WARMUP_METHOD", "lin", "linear"),
        ("SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "xyz", "value, norm"),
    ],
)
def test_of_the_solver(key, name, meant):
    cfg = load_config("mini_lvis_softmax", ["SOLVER.CLIP_GRADIENTS.ENABLED", "True", key, name])
    with pytest.raises(LtDetError) as error, explained("It fails"):
        build_lr_scheduler(cfg, build_optimizer(cfg, nn.Linear(2, 2))).step()
    assert f"{key} is '{name}'" in str(error.value)
    assert meant in str(error.value)


def test_other_errors_are_left_alone():
    for error in (KeyError("p9"), KeyError("No object named 'a' found in 'MINE' registry!"), ValueError(), OSError(3)):
        assert misspelled_part(error) is None


def test_the_loss_of_boxes():
    config = ["MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_TYPE", "l1", "MODEL.DEVICE", "cpu"]
    predictor = build_model(load_config("mini_lvis_softmax", config)).roi_heads.box_predictor
    boxes, labels = torch.tensor([[0.0, 0.0, 9.0, 9.0]]), torch.tensor([0])
    match = r"BBOX_REG_LOSS_TYPE of MODEL\.ROI_BOX_HEAD.*'l1'.*write one of smooth_l1"
    with pytest.raises(LtDetError, match=match), explained("It fails"):
        predictor.box_reg_loss(boxes, boxes, torch.zeros(1, 4), labels)
