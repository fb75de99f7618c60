"""Evaluating the boxes of a few hundred images: lt_det against pycocotools."""

from __future__ import annotations

import contextlib
import io
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from lt_det.evaluation import evaluate

IMAGES, OBJECTS, DETECTIONS = 100, 10, 300


def generate(num_classes: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A COCO ground truth of a long tail, and detections: the objects, displaced, and others."""
    rng = np.random.default_rng(0)
    frequency = np.geomspace(1, 1 / 50_000, num_classes)
    truth: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for image in range(1, IMAGES + 1):
        classes = rng.choice(num_classes, DETECTIONS, p=frequency / frequency.sum())
        boxes = np.concatenate([rng.random((DETECTIONS, 2)) * 500, 10 + rng.random((DETECTIONS, 2)) * 100], axis=1)
        for box, category in zip(boxes[:OBJECTS].tolist(), classes.tolist(), strict=False):
            one = {"id": len(truth) + 1, "image_id": image, "category_id": category + 1, "bbox": box}
            truth.append({**one, "area": box[2] * box[3], "iscrowd": 0})
        displaced = boxes + rng.normal(0, 3, boxes.shape)
        for box, category, score in zip(displaced.tolist(), classes.tolist(), rng.random(DETECTIONS), strict=True):
            found.append({"image_id": image, "category_id": category + 1, "bbox": box, "score": float(score)})
    images = [{"id": image, "height": 640, "width": 640, "file_name": f"{image}.jpg"} for image in range(1, IMAGES + 1)]
    categories = [{"id": k, "name": str(k)} for k in range(1, num_classes + 1)]
    return {"images": images, "annotations": truth, "categories": categories}, found


def measure(num_classes: int, case: str) -> Iterator[dict[str, Any]]:
    """
    Args:
        num_classes: K.
        case: "lt_det" or "pycocotools"; each in a process of its own, whose peak memory is measured.
    """
    truth, found = generate(num_classes)
    before, start = peak_memory(), time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        if case == "lt_det":
            ap = evaluate(truth, found, protocol="coco").metrics["bbox"]["AP"]
        else:
            coco = COCO()
            coco.dataset = truth
            coco.createIndex()
            evaluation = COCOeval(coco, coco.loadRes(found), "bbox")
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
            ap = 100 * float(evaluation.stats[0])
    yield {
        "case": case,
        "images": IMAGES,
        "seconds": time.process_time() - start,
        "peak_bytes": peak_memory() - before,
        "ap": ap,
    }


def peak_memory() -> int:
    """Most bytes that this process had in memory so far; on Linux, as the kernel counts them."""
    if sys.platform != "linux":
        raise SystemExit("error: The memory of an evaluation is measured on Linux only.")
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))
