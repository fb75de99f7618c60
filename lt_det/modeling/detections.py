"""From boxes and scores to detections: what Detectron2 selects, without the boxes that cannot be among the best.

Detectron2 suppresses overlapping boxes class by class, among all that score above the threshold, and then keeps the
best few hundred. Whether a box is kept depends on higher-scored boxes alone, so this module looks at the best few
thousand, and at more only if these do not give enough detections. With many classes and a low threshold that saves most
of the time and memory of the box head at test time, see docs/scale.md.

On the CPU the arithmetic is torchvision's, so that the detections are the same to the last bit, except for thousands of
classes, where torchvision rounds boxes to whole pixels.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from detectron2.layers import batched_nms, nms
from detectron2.modeling.roi_heads.fast_rcnn import fast_rcnn_inference
from detectron2.structures import Boxes, Instances
from torch import Tensor

# Up to so many boxes torchvision (0.15 to 0.29) shifts those of each class in float32 and suppresses all together; with
# more, it suppresses class by class. On a GPU older versions shift up to 5,000.
_MAX_SHIFTED = {"cpu": 1000, "cuda": 25_000}

# Coordinates from which float32 rounds to half a pixel and more. Shifted boxes get there with about 3,100 classes.
_COARSE = 2.0**22

# Boxes that are compared in pairs. Class by class, more of them take less time.
_MAX_PAIRWISE = 5000

# Candidates to look at first, for each detection that is wanted; the same factor if these are not enough.
_FIRST_LOOK = 4


def select_detections(
    boxes: Sequence[Tensor],
    scores: Sequence[Tensor],
    image_sizes: Sequence[tuple[int, int]],
    min_score: float,
    nms_iou: float,
    max_detections: int,
) -> tuple[list[Instances], list[Tensor]]:
    """The detections of each image, as Detectron2's `fast_rcnn_inference` selects them.

    Args:
        boxes: (R, 4) or (R, 4K) per image as x1, y1, x2, y2.
        scores: (R, K+1) per image, background last.
        image_sizes: height and width of each image, to which its boxes are clipped.
        min_score: scores must be above it.
        nms_iou: the lower-scoring one of two boxes of a class with an IoU above it is dropped.
        max_detections: number of highest-scoring detections to keep per image; all if it is below 0.

    Returns:
        the detections of each image, and for each of them its row among the image's R finite boxes.
    """
    is_known = all(one.dtype == torch.float32 and one.device.type in _MAX_SHIFTED for one in (*boxes, *scores))
    if torch.jit.is_tracing() or not is_known:
        return fast_rcnn_inference(boxes, scores, image_sizes, min_score, nms_iou, max_detections)
    selected = [
        _select(*one, min_score, nms_iou, max_detections) for one in zip(boxes, scores, image_sizes, strict=True)
    ]
    return [instances for instances, _ in selected], [rows for _, rows in selected]


def _select(
    boxes: Tensor, scores: Tensor, image_size: tuple[int, int], min_score: float, nms_iou: float, max_detections: int
) -> tuple[Instances, Tensor]:
    finite = boxes.isfinite().all(dim=1) & scores.isfinite().all(dim=1)
    if not finite.all():
        boxes, scores = boxes[finite], scores[finite]
    scores = scores[:, :-1]
    boxes_per_row = boxes.shape[1] // 4
    boxes = boxes.reshape(-1, 4)
    above = scores > min_score
    values = scores[above]
    looked_at = len(values)
    is_shifted = looked_at <= _MAX_SHIFTED[boxes.device.type]
    if max_detections >= 0 and not is_shifted:
        looked_at = min(looked_at, _FIRST_LOOK * max(max_detections, 1))
    # Also where it suppresses class by class, the best candidates alone would be few enough for torchvision to shift.
    exactly = not is_shifted or scores.shape[1] * max(image_size) > _COARSE
    while True:
        candidates = above
        if looked_at < len(values):  # these, and all with the score of the lowest of them
            candidates = above & (scores >= values.topk(looked_at, sorted=False)[0].min())
        rows, classes = candidates.nonzero(as_tuple=True)
        found = scores[candidates]
        # With a box for each class, each candidate has a box of its own.
        indices = rows * boxes_per_row + classes if boxes_per_row > 1 else rows
        kept = _non_maximum_suppression(boxes, indices, classes, found, image_size, nms_iou, exactly)
        if looked_at >= len(values):
            break
        best = found[kept[: max_detections + 1]]
        if len(best) > max_detections and (best[1:] < best[:-1]).all():  # the order of ties would depend on all boxes
            break
        looked_at *= _FIRST_LOOK
    if max_detections >= 0:
        kept = kept[:max_detections]
    instances = Instances(
        image_size,
        pred_boxes=Boxes(_clipped(boxes[indices[kept]], image_size)),
        scores=found[kept],
        pred_classes=classes[kept],
    )
    return instances, rows[kept]


def _clipped(boxes: Tensor, image_size: tuple[int, int]) -> Tensor:
    clipped = Boxes(boxes)
    clipped.clip(image_size)
    return clipped.tensor


def _non_maximum_suppression(
    boxes: Tensor,
    indices: Tensor,
    classes: Tensor,
    scores: Tensor,
    image_size: tuple[int, int],
    nms_iou: float,
    exactly: bool,
) -> Tensor:
    """The candidates that no higher-scored one of their class suppresses, by descending score.

    Args:
        boxes: (B, 4), not clipped yet.
        indices, classes, scores: (N,) index of the box, class and score of each candidate.
        image_size, nms_iou: see `select_detections`.
        exactly: as class by class, without rounding; otherwise as torchvision does it for N boxes.

    Returns:
        indices of the kept ones of the N candidates.
    """
    if exactly and boxes.device.type == "cpu":
        used, position = indices.unique(return_inverse=True)
        if len(used) <= _MAX_PAIRWISE:
            return _pairwise_nms(_clipped(boxes[used], image_size), position, classes, scores, nms_iou)
    boxes = _clipped(boxes[indices], image_size)
    if exactly and boxes.device.type == "cuda" and len(boxes) <= _MAX_SHIFTED["cuda"]:
        return _shifted_nms(boxes, classes, scores, nms_iou)
    return batched_nms(boxes, scores, classes, nms_iou)


def _shifted_nms(boxes: Tensor, classes: Tensor, scores: Tensor, nms_iou: float) -> Tensor:
    """Torchvision's suppression of all classes in one call, which shifts those of each class to a place of their own.

    Torchvision shifts in float32, which rounds the boxes of the last of 13,204 classes to two pixels; this does not.
    """
    if not len(boxes):
        return classes
    boxes = boxes.double()
    shift = classes * (boxes.max() + 1)
    return nms(boxes + shift[:, None], scores.double(), nms_iou)


def _pairwise_nms(boxes: Tensor, position: Tensor, classes: Tensor, scores: Tensor, nms_iou: float) -> Tensor:
    """
    Args:
        boxes: (B, 4).
        position: (N,) index of the box of each candidate.
        classes, scores, nms_iou: see `_non_maximum_suppression`.
    """
    order = scores.sort(stable=True, descending=True)[1]
    bits = [1 << n for n in range(len(boxes))]
    overlapping = _overlapping(boxes, nms_iou)  # row r: bit s is set if the boxes r and s overlap too much
    suppressed: defaultdict[int, int] = defaultdict(int)  # for each class, the bits of its boxes that may not be kept
    kept = []
    for candidate, n, k in zip(order.tolist(), position[order].tolist(), classes[order].tolist(), strict=True):
        if not suppressed[k] & bits[n]:
            kept.append(candidate)
            suppressed[k] |= overlapping[n]
    ascending = torch.tensor(sorted(kept), dtype=torch.int64)
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
