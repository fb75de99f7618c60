"""Configs of backbones of timm."""

from detectron2.config import get_cfg

from lt_det.config import add_keys

LITE = "tf_efficientnet_lite0"


def timm_config(*overrides):
    cfg = get_cfg()
    add_keys(cfg)
    cfg.MODEL.BACKBONE.NAME = "build_timm_fpn_backbone"
    cfg.MODEL.BACKBONE.FREEZE_AT = 0
    cfg.MODEL.TIMM.NAME = LITE
    cfg.MODEL.FPN.IN_FEATURES = ["res3", "res4", "res5"]
    cfg.MODEL.FPN.OUT_CHANNELS = 32
    cfg.merge_from_list(overrides)
    return cfg
