"""Synthetic ground truth of COCO's structure, and detections of it that are as exact as a test wants."""

import numpy as np

from lt_det.evaluation.matching.detections import Detections

WIDTH, HEIGHT = 640, 480
SIDES = np.array([WIDTH, HEIGHT] * 2)
EXACT, GOOD, WEAK, BAD = (0.0, 1.0, 0), (0.05, 0.9, 2), (0.15, 0.5, 10), (0.6, 0.1, 20)  # see `detections_of`


def world(seed, images=20, category_ids=(1, 2, 3, 4, 5)):
    rng = np.random.default_rng(seed)
    annotations = []
    for image in range(1, images + 1):
        for _ in range(rng.integers(1, 8)):
            size = np.exp(rng.normal(4, 0.8, 2)).clip(4, 300)
            box = [*(rng.random(2) * [WIDTH - size[0], HEIGHT - size[1]]), *size]
            annotation = {"image_id": image, "category_id": rng.choice(category_ids).item(), "bbox": box}
            annotations.append({"id": len(annotations) + 1, **annotation})
    return {
        "images": [{"id": image, "height": HEIGHT, "width": WIDTH} for image in range(1, images + 1)],
        "annotations": annotations,
        "categories": [{"id": id_, "name": f"class {id_}"} for id_ in category_ids],
    }


def detections_of(truth, quality, seed, clip=False):
    """The objects, jittered by a fraction of their size, some with a wrong class, and random boxes in each image."""
    jitter, right, extra = quality
    rng = np.random.default_rng(seed)
    image = np.repeat(np.arange(len(truth.image_ids)), np.diff(truth.start))
    boxes = truth.boxes + rng.normal(0, 1, truth.boxes.shape) * jitter * np.tile(truth.boxes[:, 2:], 2)
    classes = np.where(rng.random(len(boxes)) < right, truth.classes, rng.integers(0, truth.num_classes, len(boxes)))
    number = extra * len(truth.image_ids)
    random = np.concatenate([rng.random((number, 2)) * [500, 400], rng.random((number, 2)) * 300 + 2], axis=1)
    boxes = np.concatenate([boxes, random])
    boxes[:, 2:] = boxes[:, 2:].clip(1)
    if clip:
        ends = (boxes[:, :2] + boxes[:, 2:]).clip(0, [WIDTH, HEIGHT])
        boxes[:, :2] = boxes[:, :2].clip(0, [WIDTH, HEIGHT])
        boxes[:, 2:] = ends - boxes[:, :2]
    images = np.concatenate([image, rng.integers(0, len(truth.image_ids), number)])
    classes = np.concatenate([classes, rng.integers(0, truth.num_classes, number)])
    return Detections(images, classes, rng.random(len(boxes)), boxes)


def rewritten(detections, boxes):
    return Detections(detections.images, detections.classes, detections.scores, boxes)


def corners(boxes):
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def centers(boxes):
    return np.concatenate([boxes[:, :2] + boxes[:, 2:] / 2, boxes[:, 2:]], axis=1)
