"""The architecture of a Detectron2 detector with a ResNet, read from the names and shapes of its weights."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lt_det.errors import LtDetError
from lt_det.training.checkpointer import BOX_HEAD_KEY
from lt_det.training.warm_start.origin import recorded_classes
from lt_det.training.weights.reading import read_weights

_DEPTHS = {6: 50, 23: 101, 36: 152}  # by the number of blocks in res4
_FPN_ANCHORS, _C4_ANCHORS = 3, 15  # per location, in Detectron2's configs

Keys = dict[str, Any]  # values by dotted key


@dataclass(frozen=True)
class ResnetDetector:
    """
    Attributes:
        name: such as "Mask R-CNN R50-FPN".
        keys: config keys that differ from configs/base/mask_rcnn_r50_fpn.yaml.
        is_c4: whether the detector has no FPN.
        has_masks, has_keypoints: whether it has such a head.
        num_classes: of its box classifier; 0 if it has none. Where neither a layer, nor the checkpoint, nor the
            config.yaml beside it says it, the classifier is taken to have a background row.
        has_softmax_rows: whether the classifier has a row for each class and one for the background, and no others.
    """

    name: str
    keys: Keys
    is_c4: bool
    has_masks: bool
    has_keypoints: bool
    num_classes: int
    has_softmax_rows: bool = True


def read_resnet_detector(file: Path) -> ResnetDetector:
    """Read a file of weights, of which no program runs.

    Raises:
        LtDetError: the file cannot be read, see `read_weights`, or is no detector with a ResNet, see
            `resnet_detector`.
    """
    checkpoint = read_weights(file)
    shapes = {name: tuple(weight.shape) for name, weight in checkpoint["model"].items()}
    return resnet_detector(shapes, file, checkpoint.get(BOX_HEAD_KEY))


def resnet_detector(shapes: Mapping[str, tuple[int, ...]], file: Path, heads: Any = None) -> ResnetDetector:
    """The detector that has weights of these shapes.

    Args:
        shapes: by Detectron2's names.
        file: for messages, and to find the config.yaml beside it.
        heads: what lt_det's checkpoints record of their heads.

    Raises:
        LtDetError: it is no Faster, Mask or Cascade R-CNN with a ResNet or ResNeXt, with FPN or C4.
    """
    if not any(name.startswith("roi_heads.") for name in shapes):
        what = (
            "a one-stage detector"
            if any(name.startswith("head.") for name in shapes)
            else "something other than a detector"
        )
        raise _unknown(file, f"they belong to {what}")
    is_c4 = any(name.startswith("roi_heads.res5.") for name in shapes)
    body = "backbone." if is_c4 else "backbone.bottom_up."
    if not any(name.startswith(body) for name in shapes):
        raise _unknown(file, "they have no FPN")
    blocks = {int(found[1]) for name in shapes if (found := re.match(rf"{re.escape(body)}res4\.(\d+)\.", name))}
    depth = _DEPTHS.get(len(blocks))
    middle = shapes.get(f"{body}res2.0.conv2.weight")
    if depth is None or middle is None or f"{body}res2.0.conv3.weight" not in shapes:
        raise _unknown(file, "their backbone is not a ResNet with 50, 101 or 152 layers")
    if any("conv2_offset" in name for name in shapes):
        raise _unknown(file, "their backbone has deformable convolutions")
    if f"{body}stem.conv1.norm.running_mean" not in shapes:
        raise _unknown(file, "their backbone has no batch norm")
    keys: Keys = {"MODEL.RESNETS.DEPTH": depth}
    groups = middle[0] // middle[1]
    if groups > 1:  # the ResNeXts of Detectron2's model zoo
        keys |= {"MODEL.RESNETS.NUM_GROUPS": groups, "MODEL.RESNETS.WIDTH_PER_GROUP": middle[0] // groups}
        keys |= {"MODEL.RESNETS.STRIDE_IN_1X1": False, "MODEL.PIXEL_STD": [57.375, 57.120, 58.395]}
    keys |= _c4_keys() if is_c4 else _fpn_keys(shapes, file)
    anchors = shapes.get("proposal_generator.rpn_head.objectness_logits.weight", (0,))[0]
    if anchors != (_C4_ANCHORS if is_c4 else _FPN_ANCHORS):
        raise _unknown(file, f"their RPN has {anchors} anchors per location, unlike Detectron2's own configs")
    is_cascade = any(name.startswith("roi_heads.box_head.0.") for name in shapes)
    if is_cascade:
        keys |= {"MODEL.ROI_HEADS.NAME": "LongTailCascadeROIHeads", "MODEL.RPN.POST_NMS_TOPK_TRAIN": 2000}
    has_masks = any(name.startswith("roi_heads.mask_head.") for name in shapes)
    rows = shapes.get(f"roi_heads.box_predictor.{'0.' if is_cascade else ''}cls_score.weight", (0,))[0]
    num_classes = _classes_of_other_layers(shapes) or recorded_classes(heads, file, rows) or max(0, rows - 1)
    body_name = f"{'X' if groups > 1 else 'R'}{depth}"
    kind = ("Cascade " if is_cascade else "" if has_masks else "Faster ") + ("Mask R-CNN" if has_masks else "R-CNN")
    return ResnetDetector(
        name=f"{kind} {body_name}-{'C4' if is_c4 else 'FPN'}",
        keys=keys,
        is_c4=is_c4,
        has_masks=has_masks,
        has_keypoints=any(name.startswith("roi_heads.keypoint_head.") for name in shapes),
        num_classes=num_classes if rows else 0,
        has_softmax_rows=rows == num_classes + 1,
    )


def _classes_of_other_layers(shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Classes with boxes or masks of their own; 0 if all classes share them.

    A classifier does not show them, see `recorded_classes`.
    """
    boxes = shapes.get("roi_heads.box_predictor.bbox_pred.weight", (0,))[0] // 4
    masks = shapes.get("roi_heads.mask_head.predictor.weight", (0,))[0]
    return max((number for number in (boxes, masks) if number > 1), default=0)


def _c4_keys() -> Keys:
    """What Detectron2's Base-RCNN-C4 has; its other values are Detectron2's defaults."""
    return {
        "MODEL.BACKBONE.NAME": "build_resnet_backbone",
        "MODEL.RESNETS.OUT_FEATURES": ["res4"],
        "MODEL.ANCHOR_GENERATOR.SIZES": [[32, 64, 128, 256, 512]],
        "MODEL.RPN.IN_FEATURES": ["res4"],
        "MODEL.RPN.PRE_NMS_TOPK_TRAIN": 12000,
        "MODEL.RPN.PRE_NMS_TOPK_TEST": 6000,
        "MODEL.RPN.POST_NMS_TOPK_TRAIN": 2000,
        "MODEL.ROI_HEADS.NAME": "LongTailRes5ROIHeads",
        "MODEL.ROI_HEADS.IN_FEATURES": ["res4"],
    }


def _fpn_keys(shapes: Mapping[str, tuple[int, ...]], file: Path) -> Keys:
    """Sizes of the FPN and of the box head, where they are not those of the base."""
    head = (
        "roi_heads.box_head.0." if any(n.startswith("roi_heads.box_head.0.") for n in shapes) else "roi_heads.box_head."
    )
    layers = [name for name in shapes if re.fullmatch(rf"{re.escape(head)}fc\d+\.weight", name)]
    lateral = shapes.get("backbone.fpn_lateral5.weight")
    if lateral is None or not layers or "backbone.fpn_lateral2.weight" not in shapes:
        raise _unknown(file, "they have no FPN from p2 to p5")
    if any(name.startswith(f"{head}conv") for name in shapes):
        raise _unknown(file, "their box head has convolutions")
    channels = lateral[0]
    width, inputs = shapes[f"{head}fc1.weight"]
    keys: Keys = {}
    for key, value, usual in (
        ("MODEL.FPN.OUT_CHANNELS", channels, 256),
        ("MODEL.ROI_BOX_HEAD.NUM_FC", len(layers), 2),
        ("MODEL.ROI_BOX_HEAD.FC_DIM", width, 1024),
        ("MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION", math.isqrt(inputs // channels), 7),
    ):
        if value != usual:
            keys[key] = value
    return keys


def _unknown(file: Path, why: str) -> LtDetError:
    return LtDetError(
        f"No config can be made for the weights {file}: {why}; give a Faster, Mask or Cascade R-CNN of Detectron2 with "
        "a ResNet (FPN or C4), or leave --weights out and set MODEL.WEIGHTS and the detector's keys in the config."
    )
