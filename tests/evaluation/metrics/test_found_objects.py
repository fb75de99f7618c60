"""The most confident detection on each object: against a slow loop, and a case worked out by hand."""

import numpy as np
from pycocotools import mask as mask_utils

from lt_det.evaluation.matching.ground_truth import GroundTruth
from lt_det.evaluation.metrics.found_objects import most_confident_detections
from tests.helpers.worlds import as_detections, small_world


def test_against_a_slow_loop():
    some_found = some_tied = 0
    for seed in range(100):
        world, results = small_world(seed)
        truth = GroundTruth.from_json(world)
        detections = as_detections(results, truth, "bbox")
        best = most_confident_detections(truth, detections)
        for g, index in enumerate(best.tolist()):
            image = truth.image_ids[np.searchsorted(truth.start, g, side="right") - 1]
            on_it = [
                n
                for n, d in enumerate(results)
                if d["image_id"] == image and mask_utils.iou([d["bbox"]], [truth.boxes[g].tolist()], [0])[0, 0] >= 0.5
            ]
            highest = max((results[n]["score"] for n in on_it), default=None)
            first = [n for n in on_it if results[n]["score"] == highest]
            assert index == (first[0] if first else -1), (seed, g)
            some_found += bool(first)
            some_tied += len(first) > 1
    assert some_found > 100
    assert some_tied > 20


def test_the_class_of_a_detection_does_not_matter_and_its_place_does():
    box, shifted = [10.0, 10.0, 20.0, 20.0], [19.0, 10.0, 20.0, 20.0]  # IoU 11 / 29
    truth = GroundTruth.from_json(
        {
            "images": [{"id": i, "width": 100, "height": 100} for i in (1, 2, 3)],
            "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
            "annotations": [{"id": i, "image_id": i, "category_id": 1, "bbox": box} for i in (1, 2)],
        }
    )
    found = ((2, 1, shifted, 0.9), (1, 1, box, 0.3), (1, 2, box, 0.4), (3, 1, box, 0.8), (1, 1, shifted, 0.9))
    results = [{"image_id": i, "category_id": c, "bbox": b, "score": s} for i, c, b, s in found]
    assert most_confident_detections(truth, as_detections(results, truth, "bbox")).tolist() == [2, -1]
    assert most_confident_detections(truth, as_detections([], truth, "bbox")).tolist() == [-1, -1]
