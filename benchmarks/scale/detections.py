"""Selecting the detections of an image: lt_det's selection against Detectron2's `fast_rcnn_inference`."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from detectron2.modeling.roi_heads.fast_rcnn import fast_rcnn_inference
from torch import Tensor
from torchvision.ops import nms

from benchmarks.losses import peak_bytes
from lt_det.modeling.detections import select_detections

SIZE = (800, 1333)
OPTIONS = (1e-4, 0.5, 300)  # of the LVIS configs: threshold, IoU of non-maximum suppression, detections
FEW, ALL = 20, 1000  # proposals; with all of them Detectron2 takes too long at 13,204 classes
IMAGES, PROPOSALS = 20, 90
Select = Callable[..., Any]


def boxes(number: int) -> Tensor:
    corners = torch.rand(number, 2) * torch.tensor([1100.0, 600.0])
    return torch.cat([corners, corners + 20 + torch.rand(number, 2) * 200], dim=1)


def measure(num_classes: int) -> Iterator[dict[str, Any]]:
    """With every class of every proposal above the threshold, as for a sigmoid loss at its start."""
    cases = [("Detectron2", fast_rcnn_inference, FEW), ("lt_det", select_detections, FEW)]
    for case, select, number in [*cases, ("lt_det", select_detections, ALL)]:
        torch.manual_seed(0)
        found = boxes(number)
        scores = (torch.randn(number, num_classes + 1) - 5).sigmoid().clamp(min=2e-4)
        call = functools.partial(select, [found], [scores], [SIZE], *OPTIONS)
        start = time.process_time()
        (detections,), _ = call()
        seconds = time.process_time() - start
        yield {
            "case": f"{case}, {number} proposals",
            "candidates": number * num_classes,
            "seconds": seconds,
            # Detectron2 takes ten thousand small steps, whose profile takes too long.
            "peak_bytes": peak_bytes(call, "cpu") if select is select_detections else None,
            "detections": len(detections),
        }


def measure_rounding(num_classes: int) -> Iterator[dict[str, Any]]:
    """Up to 1000 candidates, all of the last ten classes: torchvision shifts their boxes in float32."""
    differing = {"Detectron2": 0, "lt_det": 0}
    for seed in range(IMAGES):
        torch.manual_seed(seed)
        found = boxes(PROPOSALS) / torch.tensor(8.0)  # overlapping, 10 to 100 pixels
        found[0] = torch.tensor([1300.0, 770.0, 1332.0, 799.0])
        scores = torch.zeros(PROPOSALS, num_classes + 1)
        scores[:, num_classes - 10 : num_classes] = torch.rand(PROPOSALS, 10)
        expected = {
            (k, int(row))
            for k in range(num_classes - 10, num_classes)
            for row in (scores[:, k] > OPTIONS[0]).nonzero()[:, 0][nms(*_above(found, scores[:, k]), OPTIONS[1])]
        }
        for case, select in (("Detectron2", fast_rcnn_inference), ("lt_det", select_detections)):
            (detections,), (rows,) = select([found], [scores], [SIZE], *OPTIONS[:2], -1)
            kept = set(zip(detections.pred_classes.tolist(), rows.tolist(), strict=True))
            differing[case] += kept != expected
    for case, number in differing.items():
        yield {"case": case, "images": IMAGES, "proposals": PROPOSALS, "images_with_other_detections": number}


def _above(found: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
    above = scores > OPTIONS[0]
    return found[above], scores[above]
