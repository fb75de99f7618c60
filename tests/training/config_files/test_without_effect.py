"""Overrides of parts or losses that the network does not have."""

import pytest
from detectron2.config import get_cfg

from lt_det.config import add_keys
from lt_det.training.config_files.values import unused_keys


@pytest.mark.parametrize(
    ("key", "with_it"),
    [
        ("MODEL.LONG_TAIL.LOSS.FOCAL.GAMMA", ["MODEL.LONG_TAIL.LOSS.NAME", "focal"]),
        ("MODEL.ROI_MASK_HEAD.NUM_CONV", ["MODEL.MASK_ON", True]),
        ("MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS", ["MODEL.KEYPOINT_ON", True]),
        ("MODEL.RETINANET.NUM_CLASSES", ["MODEL.META_ARCHITECTURE", "RetinaNet"]),
        ("MODEL.ROI_BOX_CASCADE_HEAD.IOUS", ["MODEL.ROI_HEADS.NAME", "LongTailCascadeROIHeads"]),
    ],
)
def test_keys_of_parts_that_the_network_lacks_are_named(key, with_it):
    cfg = get_cfg()
    add_keys(cfg)
    used = ["SOLVER.BASE_LR", "MODEL.LONG_TAIL.LOSS.NAME", "MODEL.FPN.NORM"]
    assert unused_keys(cfg, [*used, key]) == [key]
    cfg.merge_from_list(with_it)
    assert unused_keys(cfg, [*used, key]) == []
    cfg.MODEL.META_ARCHITECTURE = "Mine"  # may read any key
    assert unused_keys(cfg, ["MODEL.SEM_SEG_HEAD.NORM", "MODEL.ROI_MASK_HEAD.NORM"]) == []
