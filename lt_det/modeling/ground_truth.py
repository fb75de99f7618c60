"""The ground truth of a batch, as a user's own dataset and mapper give it to the ROI heads."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch
from detectron2.data import MetadataCatalog
from detectron2.structures import Boxes, Instances
from torch import Tensor

from lt_det.errors import LtDetError
from lt_det.terminal import count_of, warn_once

logger = logging.getLogger(__name__)

_KEY = "MODEL.ROI_HEADS.NUM_CLASSES"


class CheckedGroundTruth:
    """Mixin for Detectron2's ROI heads that checks the ground truth before RoIs are sampled."""

    num_classes: int
    box_predictor: Any
    _classes: dict[str, int] | None = None  # of the training sets, which the loader has read by the first batch

    def label_and_sample_proposals(self, proposals: list[Instances], targets: list[Instances]) -> list[Instances]:
        """The stock method's RoIs.

        Raises:
            LtDetError: see `check_ground_truth`.
        """
        if self._classes is None:
            self._classes = self._classes_of_data()
            warn_of_unused_classes(self.num_classes, self._classes)
        check_ground_truth(targets, self.num_classes, self._classes)
        sampled: list[Instances] = super().label_and_sample_proposals(proposals, targets)  # type: ignore[misc]
        return sampled

    def _classes_of_data(self) -> dict[str, int]:
        """The number of classes of each training set that says it."""
        predictor = self.box_predictor[0] if isinstance(self.box_predictor, torch.nn.ModuleList) else self.box_predictor
        names = [MetadataCatalog.get(name) for name in getattr(predictor, "training_sets", ())]
        return {one.name: len(one.thing_classes) for one in names if one.get("thing_classes")}


def warn_of_unused_classes(num_classes: int, classes: dict[str, int]) -> None:
    """Log that a box head has more classes than its training sets.

    Args:
        num_classes: of the box head.
        classes: number of classes of each training set.
    """
    name, number = max(classes.items(), key=lambda item: item[1], default=("", num_classes))
    if number < num_classes:
        warn_once(
            logger,
            f"{_KEY} is {num_classes}, but '{name}' has {count_of(number, 'class')}; unless your mapper changes the "
            f"labels, set {_KEY} to {number}.",
        )


def check_ground_truth(targets: Sequence[Instances], num_classes: int, classes: dict[str, int]) -> None:
    """Check the labels and boxes of a batch.

    Detectron2 trains an object with the label K as background, fails on a larger label far from its cause, and on the
    CPU it can crash on a box with NaN. It waits for the GPU for each image when it samples RoIs; this waits once more.

    Args:
        targets: ground truth of each image.
        num_classes: K of the box head. -1 is Detectron2's label for objects to ignore. A label of K is background,
            which a mapper may want, but not if a training set has more than K classes.
        classes: number of classes of each training set, as far as it is known.

    Raises:
        LtDetError: labels that are not whole numbers from -1 to K-1, or boxes with NaN or infinite coordinates.
    """
    labels = torch.cat([image.gt_classes for image in targets]) if len(targets) else torch.empty(0)
    if not labels.numel():
        return
    if labels.is_floating_point() or labels.dtype == torch.bool:
        raise LtDetError(
            f"The gt_classes of a batch have the type {labels.dtype}; your mapper has to give class indices of type "
            "torch.int64."
        )
    lowest, highest, are_finite, have_area = _summary(labels, targets)
    larger = {name: number for name, number in classes.items() if number > num_classes}
    if lowest < -1 or highest > num_classes or (highest == num_classes and larger):
        has = "".join(f", and '{name}' has {number}" for name, number in larger.items())
        raise LtDetError(
            f"An object has the label {highest if lowest >= -1 else lowest}, but the box head has "
            f"{count_of(num_classes, 'class')} with the labels 0 to {num_classes - 1} ({_KEY}){has}; set {_KEY} to the "
            "number of classes of your data, or correct the labels that your mapper makes."
        )
    if not are_finite:
        raise LtDetError(
            "A ground-truth box has coordinates that are NaN or infinite; correct the annotations, or the mapper that "
            "makes the boxes."
        )
    if not have_area:
        warn_once(
            logger,
            "There are ground-truth boxes without an area (x1 <= x0 or y1 <= y0), which no proposal matches, so that "
            "their objects are not learned; check the bbox_mode of your dataset, and that your mapper leaves out empty "
            "boxes.",
        )


def _summary(labels: Tensor, targets: Sequence[Instances]) -> tuple[int, int, bool, bool]:
    """Lowest and highest label, and whether all boxes are finite and have an area."""
    boxes = [image.gt_boxes.tensor for image in targets if isinstance(image.get_fields().get("gt_boxes"), Boxes)]
    corners = torch.cat(boxes) if boxes else torch.zeros(0, 4, device=labels.device)
    have_area = (corners[:, 2:] > corners[:, :2]) | corners[:, 2:].isnan() | corners[:, :2].isnan()
    summary = [labels.min(), labels.max(), corners.isfinite().all(), have_area.all()]
    lowest, highest, are_finite, all_have_area = torch.stack([value.long() for value in summary]).tolist()
    return lowest, highest, bool(are_finite), bool(all_have_area)
