"""From boxes and scores to detections: what Detectron2 selects, faster where all classes of a proposal share one box.

With class-agnostic box regression, torchvision's per-class loop of non-maximum suppression compares the same boxes once
for each class, and the calls take most of the time of an evaluation. Here they are compared once. The arithmetic is
torchvision's, so that the detections are the same to the last bit.
"""

from __future__ import annotations

import numpy as np
import torch
from detectron2.layers import batched_nms
from detectron2.modeling.roi_heads.fast_rcnn import fast_rcnn_inference
from detectron2.structures import Boxes, Instances
from torch import Tensor

# Below it torchvision (0.15 to 0.29) shifts the boxes of each class and suppresses all together, on the CPU.
_MAX_SHIFTED = 1000


def select_detections(
    boxes: Tensor, scores: Tensor, image_size: tuple[int, int], min_score: float, nms_iou: float, max_detections: int
) -> Instances:
    """The detections of one image, as Detectron2's `fast_rcnn_inference` selects them.

    Args:
        boxes: (R, 4) or (R, 4K) as x1, y1, x2, y2.
        scores: (R, K+1), background last.
        image_size: height and width, to which boxes are clipped.
        min_score: scores must be above it.
        nms_iou: the lower-scoring one of two boxes of a class with an IoU above it is dropped.
        max_detections: number of highest-scoring detections to keep; all if it is below 0.
    """
    if boxes.shape[1] != 4 or boxes.device.type != "cpu" or boxes.dtype != torch.float32:
        (instances,), _ = fast_rcnn_inference([boxes], [scores], [image_size], min_score, nms_iou, max_detections)
        return instances
    finite = boxes.isfinite().all(dim=1) & scores.isfinite().all(dim=1)
    boxes, scores = boxes[finite], scores[finite, :-1]
    clipped = Boxes(boxes)
    clipped.clip(image_size)
    above = scores > min_score
    proposals, classes = above.nonzero(as_tuple=True)
    boxes, scores = clipped.tensor, scores[above]
    if len(scores) <= _MAX_SHIFTED:
        kept = batched_nms(boxes[proposals], scores, classes, nms_iou)
    else:
        kept = _non_maximum_suppression(boxes, proposals, classes, scores, nms_iou)
    if max_detections >= 0:
        kept = kept[:max_detections]
    return Instances(
        image_size, pred_boxes=Boxes(boxes[proposals[kept]]), scores=scores[kept], pred_classes=classes[kept]
    )


def _non_maximum_suppression(
    boxes: Tensor, proposals: Tensor, classes: Tensor, scores: Tensor, nms_iou: float
) -> Tensor:
    """Indices of the kept ones of N candidates by descending score.

    Args:
        boxes: (R, 4).
        proposals, classes, scores: (N,) row of `boxes`, class and score of each candidate, by proposal and class.
        nms_iou: see `select_detections`.
    """
    bits = [1 << row for row in range(len(boxes))]
    overlapping = _overlapping(boxes, nms_iou)  # row r: bit s is set if the boxes r and s overlap too much
    suppressed = [0] * (int(classes.max()) + 1)  # for each class, the bits of its boxes that may not be kept
    kept = []
    order = scores.sort(stable=True, descending=True)[1]
    for candidate, row, k in zip(order.tolist(), proposals[order].tolist(), classes[order].tolist(), strict=True):
        if not suppressed[k] & bits[row]:
            kept.append(candidate)
            suppressed[k] |= overlapping[row]
    ascending = torch.tensor(sorted(kept))
    return ascending[scores[ascending].sort(descending=True)[1]]  # ties in the order of torchvision's sort


def _overlapping(boxes: Tensor, nms_iou: float) -> list[int]:
    x1, y1, x2, y2 = (column[:, None] for column in boxes.unbind(dim=1))
    areas = (x2 - x1) * (y2 - y1)
    width = (torch.minimum(x2, x2.T) - torch.maximum(x1, x1.T)).clamp_(min=0)
    height = (torch.minimum(y2, y2.T) - torch.maximum(y1, y1.T)).clamp_(min=0)
    intersection = width * height
    iou = intersection / (areas + areas.T - intersection)
    rows = np.packbits((iou.double() > nms_iou).numpy(), axis=1, bitorder="little")
    return [int.from_bytes(row.tobytes(), "little") for row in rows]
