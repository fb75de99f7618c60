"""From boxes and scores to detections: what Detectron2 selects, without the boxes that cannot be among the best.

Detectron2 suppresses overlapping boxes class by class, among all of them, and then keeps the best few hundred. Whether
a box is kept depends on higher-scored boxes alone, so here it ends when those few hundred are found. The arithmetic is
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

# Boxes that are compared in pairs. Class by class, more of them take less time.
_MAX_PAIRWISE = 5000

# Candidates to look at first, for each detection that is wanted; the same factor if these are not enough.
_FIRST_LOOK = 4


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
    if boxes.device.type != "cpu" or boxes.dtype != torch.float32:
        (instances,), _ = fast_rcnn_inference([boxes], [scores], [image_size], min_score, nms_iou, max_detections)
        return instances
    finite = boxes.isfinite().all(dim=1) & scores.isfinite().all(dim=1)
    boxes, scores = boxes[finite], scores[finite, :-1]
    clipped = Boxes(boxes.reshape(-1, 4))
    clipped.clip(image_size)
    above = scores > min_score
    rows, classes = above.nonzero(as_tuple=True)
    scores = scores[above]
    boxes_per_row = boxes.shape[1] // 4
    boxes = clipped.tensor
    if boxes_per_row > 1:  # a box for each class
        rows = rows * boxes_per_row + classes
    if len(scores) <= _MAX_SHIFTED:
        kept = batched_nms(boxes[rows], scores, classes, nms_iou)
    else:
        kept = _non_maximum_suppression(boxes, rows, classes, scores, nms_iou, max_detections)
    if max_detections >= 0:
        kept = kept[:max_detections]
    return Instances(image_size, pred_boxes=Boxes(boxes[rows[kept]]), scores=scores[kept], pred_classes=classes[kept])


def _non_maximum_suppression(
    boxes: Tensor, rows: Tensor, classes: Tensor, scores: Tensor, nms_iou: float, wanted: int
) -> Tensor:
    """Indices of the kept ones of N candidates by descending score, at least `wanted` where there are so many.

    Args:
        boxes: (B, 4).
        rows, classes, scores: (N,) row of `boxes`, class and score of each candidate.
        nms_iou: see `select_detections`.
        wanted: how many are needed; all if it is below 0.
    """
    wanted = len(scores) if wanted < 0 else wanted
    order = scores.sort(stable=True, descending=True)[1]
    looked_at = min(len(order), _FIRST_LOOK * max(wanted, 1))
    while True:
        if min(looked_at, len(boxes)) > _MAX_PAIRWISE:
            return batched_nms(boxes[rows], scores, classes, nms_iou)
        kept = _kept(boxes, order[:looked_at], rows, classes, nms_iou)
        if looked_at == len(order):
            break
        best = scores[kept[: wanted + 1]]
        if len(best) > wanted and (best[1:] < best[:-1]).all():  # the order of ties would depend on all that are kept
            return torch.tensor(kept)
        looked_at = min(len(order), _FIRST_LOOK * looked_at)
    ascending = torch.tensor(sorted(kept))
    return ascending[scores[ascending].sort(descending=True)[1]]  # ties in the order of torchvision's sort


def _kept(boxes: Tensor, order: Tensor, rows: Tensor, classes: Tensor, nms_iou: float) -> list[int]:
    """Those of the candidates in `order` that no earlier one of their class suppresses."""
    used, position = rows[order].unique(return_inverse=True)
    bits = [1 << n for n in range(len(used))]
    overlapping = _overlapping(boxes[used], nms_iou)  # row r: bit s is set if the boxes r and s overlap too much
    suppressed = [0] * (int(classes.max()) + 1)  # for each class, the bits of its boxes that may not be kept
    kept = []
    for candidate, n, k in zip(order.tolist(), position.tolist(), classes[order].tolist(), strict=True):
        if not suppressed[k] & bits[n]:
            kept.append(candidate)
            suppressed[k] |= overlapping[n]
    return kept


def _overlapping(boxes: Tensor, nms_iou: float) -> list[int]:
    x1, y1, x2, y2 = (column[:, None] for column in boxes.unbind(dim=1))
    areas = (x2 - x1) * (y2 - y1)
    width = (torch.minimum(x2, x2.T) - torch.maximum(x1, x1.T)).clamp_(min=0)
    height = (torch.minimum(y2, y2.T) - torch.maximum(y1, y1.T)).clamp_(min=0)
    intersection = width * height
    iou = intersection / (areas + areas.T - intersection)
    rows = np.packbits((iou.double() > nms_iou).numpy(), axis=1, bitorder="little")
    return [int.from_bytes(row.tobytes(), "little") for row in rows]
