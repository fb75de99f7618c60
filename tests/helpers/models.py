"""A small Detectron2 model and a synthetic batch."""

import torch
from detectron2.config import get_cfg
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances

import lt_det

NUM_CLASSES = 5


def small_config(roi_heads="LongTailROIHeads", loss="softmax", **overrides):
    """A ResNet-18 FPN (or ResNet-50 C4) of Detectron2 with five classes, on the CPU."""
    cfg = get_cfg()
    lt_det.add_lt_config(cfg)
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.RESNETS.NORM = "BN"
    cfg.MODEL.ROI_HEADS.NAME = roi_heads
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = NUM_CLASSES
    cfg.MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE = 32
    cfg.MODEL.LONG_TAIL.LOSS.NAME = loss
    if "Res5" not in roi_heads:
        cfg.MODEL.BACKBONE.NAME = "build_resnet_fpn_backbone"
        cfg.MODEL.RESNETS.DEPTH = 18
        cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 64
        cfg.MODEL.RESNETS.OUT_FEATURES = ["res2", "res3", "res4", "res5"]
        cfg.MODEL.FPN.IN_FEATURES = ["res2", "res3", "res4", "res5"]
        cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[32], [64], [128], [256], [512]]
        cfg.MODEL.RPN.IN_FEATURES = ["p2", "p3", "p4", "p5", "p6"]
        cfg.MODEL.ROI_HEADS.IN_FEATURES = ["p2", "p3", "p4", "p5"]
        cfg.MODEL.ROI_BOX_HEAD.NAME = "FastRCNNConvFCHead"
        cfg.MODEL.ROI_BOX_HEAD.NUM_FC = 1
        cfg.MODEL.ROI_BOX_HEAD.FC_DIM = 64
        cfg.MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION = 7
        cfg.MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG = "Cascade" in roi_heads
    cfg.MODEL.RPN.POST_NMS_TOPK_TRAIN = 50
    cfg.MODEL.RPN.POST_NMS_TOPK_TEST = 20
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    cfg.merge_from_list([item for pair in overrides.items() for item in pair])
    return cfg


def annotations(num_classes=NUM_CLASSES):
    """A COCO-format training set in which class k occurs in 3^k images."""
    records = [(image, k) for k in range(num_classes) for image in range(3**k)]
    return {
        "images": [{"id": i, "height": 64, "width": 64, "file_name": f"{i}.jpg"} for i in range(3**num_classes)],
        "annotations": [
            {"id": n, "image_id": image, "category_id": k, "bbox": [1, 1, 9, 9], "area": 81}
            for n, (image, k) in enumerate(records)
        ],
        "categories": [{"id": k, "name": f"class{k}"} for k in range(num_classes)],
    }


def synthetic_batch(num_classes=NUM_CLASSES, size=96, masks=False):
    """Two random images: one with two objects, one with none."""
    generator = torch.Generator().manual_seed(0)
    batch = []
    for boxes, classes in (([[8, 8, 50, 60], [40, 30, 90, 90]], [0, num_classes - 1]), ([], [])):
        instances = Instances((size, size))
        instances.gt_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4))
        instances.gt_classes = torch.tensor(classes, dtype=torch.int64)
        if masks:
            from detectron2.structures import PolygonMasks

            instances.gt_masks = PolygonMasks([[[x0, y0, x1, y0, x1, y1, x0, y1]] for x0, y0, x1, y1 in boxes])
        image = (torch.rand(3, size, size, generator=generator) * 255).to(torch.uint8)
        batch.append({"image": image, "instances": instances, "height": size, "width": size})
    return batch


def seeded_model(cfg):
    torch.manual_seed(0)
    return build_model(cfg)
