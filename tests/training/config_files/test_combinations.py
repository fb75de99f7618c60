"""Values that do not fit each other are refused with their key, and all combinations that Detectron2 trains are not."""

import pytest

from lt_det.errors import LtDetError
from lt_det.training import load_config

CASCADE = ["MODEL.ROI_HEADS.NAME", "LongTailCascadeROIHeads"]
CROP = ["INPUT.CROP.ENABLED", "True", "INPUT.CROP.TYPE"]
RANGE = ["INPUT.MIN_SIZE_TRAIN_SAMPLING", "range"]
LABELS, IOUS = "MODEL.ROI_HEADS.IOU_LABELS", "MODEL.ROI_BOX_CASCADE_HEAD.IOUS"
TWO_STAGES = ["MODEL.ROI_BOX_CASCADE_HEAD.BBOX_REG_WEIGHTS", "((10.0, 10.0, 5.0, 5.0), (20.0, 20.0, 10.0, 10.0))"]
THRESHOLDS, SIZE, EDGES = "MODEL.ROI_HEADS.IOU_THRESHOLDS", "INPUT.CROP.SIZE", "INPUT.MIN_SIZE_TRAIN"
ANCHORS, RATIOS = "MODEL.ANCHOR_GENERATOR.SIZES", "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS"
TWO_FEATURES = ["MODEL.RPN.IN_FEATURES", "['p3', 'p4']"]
FPN = ["MODEL.BACKBONE.NAME", "build_resnet_fpn_backbone"]
RETINANET = ["MODEL.META_ARCHITECTURE", "RetinaNet"]
BOX_NORM = ["MODEL.ROI_BOX_HEAD.NORM", "GN", "MODEL.ROI_BOX_HEAD.NUM_CONV"]
AGNOSTIC = "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG"


@pytest.mark.parametrize(
    ("before", "key", "value", "complaint"),
    [
        ([], LABELS, "[1, 0]", "the last is 1"),
        ([], LABELS, "[0, 2]", "-1 for ignored"),
        ([], "MODEL.RPN.IOU_LABELS", "[0, 1, -1]", "such as [0, -1, 1]"),
        (CASCADE, IOUS, "(0.5, 0.6)", "for 3 stages"),
        (CASCADE, THRESHOLDS, "[0.6]", "write [0.5]"),
        (CASCADE, AGNOSTIC, "False", "set it to True"),
        ([*CROP, "relative"], SIZE, "[300, 300]", "fractions"),
        ([*CROP, "absolute"], SIZE, "[0.9, 0.9]", "pixels"),
        ([*CROP, "absolute"], SIZE, "[600.0, 600.0]", "whole numbers"),
        ([*CROP, "absolute_range"], SIZE, "[600, 300]", "before the largest"),
        ([*CROP, "relative"], SIZE, "[0.9]", "two numbers"),
        (RANGE, EDGES, "(64, 80, 96)", "such as [64, 96]"),
        (RANGE, EDGES, "(96, 64)", "such as [64, 96]"),
        ([], ANCHORS, "[[8], [16], [32]]", "one for each feature of MODEL.RPN.IN_FEATURES ['p3']"),
        (TWO_FEATURES, RATIOS, "[[1.0], [0.5, 1.0]]", "as many numbers for each feature"),
        ([*RETINANET, "MODEL.RETINANET.IN_FEATURES", "['p3', 'p4']"], ANCHORS, "[[8], [16], [32]]", "RETINANET"),
        ([*FPN, "MODEL.FPN.NORM", "GN"], "MODEL.FPN.OUT_CHANNELS", "100", "such as 128, because MODEL.FPN.NORM is GN"),
        ([*FPN, *RETINANET, "MODEL.RETINANET.NORM", "GN"], "MODEL.FPN.OUT_CHANNELS", "100", "MODEL.RETINANET.NORM is"),
        ([*BOX_NORM, "2"], "MODEL.ROI_BOX_HEAD.CONV_DIM", "16", "such as 32"),
        (["MODEL.MASK_ON", "True", "MODEL.ROI_MASK_HEAD.NORM", "GN"], "MODEL.ROI_MASK_HEAD.CONV_DIM", "80", "96"),
    ],
)
def test_values_that_do_not_fit(before, key, value, complaint):
    with pytest.raises(LtDetError) as error:
        load_config("mini_lvis_softmax", [*before, key, value])
    assert f"{key} is " in str(error.value)
    assert complaint in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "opts",
    [
        [LABELS, "[-1, 0, 1]", THRESHOLDS, "[0.1, 0.5]"],  # as in Fast R-CNN
        ["MODEL.RPN.IOU_LABELS", "[0, 1]", "MODEL.RPN.IOU_THRESHOLDS", "[0.5]"],
        CASCADE,
        [*CASCADE, IOUS, "(0.4, 0.5)", THRESHOLDS, "[0.4]", *TWO_STAGES],
        [IOUS, "(0.5, 0.6)", THRESHOLDS, "[0.6]", AGNOSTIC, "False"],  # no cascade
        [*CROP, "relative", SIZE, "[1, 0.5]"],
        [*CROP, "relative_range", SIZE, "[0.0, 0.0]"],
        [*CROP, "absolute", SIZE, "[600, 300]"],
        [*CROP, "absolute_range", SIZE, "[384, 600]"],  # of DETR
        ["INPUT.CROP.TYPE", "absolute"],  # not enabled
        [*RANGE, EDGES, "(64, 96)"],
        [*RANGE, EDGES, "(64, 64)"],
        [EDGES, "(96, 64, 80)"],
        [ANCHORS, "[[8, 16, 32]]", *TWO_FEATURES],
        [ANCHORS, "[8, 16, 32]", *TWO_FEATURES],
        [ANCHORS, "[[8, 16], [32, 64]]", RATIOS, "[[0.5, 1.0], [1.0, 2.0]]", *TWO_FEATURES],
        [ANCHORS, "[[8], [16], [32]]", "MODEL.PROPOSAL_GENERATOR.NAME", "PrecomputedProposals"],
        [*FPN, "MODEL.FPN.NORM", "BN", "MODEL.FPN.OUT_CHANNELS", "100"],
        ["MODEL.FPN.NORM", "GN", "MODEL.FPN.OUT_CHANNELS", "100"],  # another backbone
        [*BOX_NORM, "0", "MODEL.ROI_BOX_HEAD.CONV_DIM", "16"],
    ],
)
def test_values_that_fit(opts):
    load_config("mini_lvis_softmax", opts)


def test_overrides_may_complete_a_file(tmp_path):
    """A file whose values fit only together with what the command line adds."""
    file = tmp_path / "cascade.yaml"
    file.write_text("_BASE_: lt_det://mini_lvis_softmax\nMODEL: {ROI_HEADS: {IOU_THRESHOLDS: [0.4, 0.6]}}\n")
    with pytest.raises(LtDetError, match=r"cascade\.yaml"):
        load_config(str(file))
    load_config(str(file), [LABELS, "[0, -1, 1]"])
