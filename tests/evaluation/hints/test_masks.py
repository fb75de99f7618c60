"""Masks in another convention than COCO's are noticed, and right ones are not suspected."""

import logging

import numpy as np
import pytest
from pycocotools import mask as mask_utils

from lt_det.evaluation import evaluate
from lt_det.evaluation.matching.ground_truth import GroundTruth
from lt_det.io.shapes import box_polygon
from tests.helpers.jittered_detections import BAD, EXACT, GOOD, HEIGHT, SIDES, WEAK, detections_of, world

HALF = np.array([0.5] * 4)


def results_of(data, quality, write, seed=0, encode=lambda box: [box_polygon(box)], score=1.0, shift=0):
    found = detections_of(GroundTruth.from_json(data), quality, seed, clip=True)
    return [
        {"image_id": image + 1, "category_id": (k + shift) % 5 + 1, "score": s * score, "segmentation": encode(box)}
        for image, k, s, box in zip(found.images.tolist(), found.classes, found.scores, write(found.boxes), strict=True)
    ]


def hints_of(data, results, caplog, iou="segm"):
    for annotation in data["annotations"]:
        annotation["segmentation"] = [box_polygon(annotation["bbox"])]
    with caplog.at_level(logging.WARNING):
        evaluate(data, results, iou=iou)
    return [record.getMessage() for record in caplog.records if record.getMessage().startswith("detections: ")]


@pytest.mark.parametrize("quality", [EXACT, GOOD, WEAK, BAD])
def test_right_masks_are_not_suspected(quality, caplog):
    for seed in range(4):
        data = world(seed, images=2 if seed % 2 else 12)
        assert hints_of(data, results_of(data, quality, lambda boxes: boxes, seed), caplog) == []


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda boxes: boxes / SIDES, "are empty or lie within the first pixel"),
        (lambda boxes: boxes * HALF, "all images had been resized by a factor of about 0.5"),
        (lambda boxes: boxes[:, [1, 0, 3, 2]], "x and y exchanged"),
    ],
)
@pytest.mark.parametrize("quality", [EXACT, GOOD])
def test_other_conventions_are_named(write, words, quality, caplog):
    data = world(1)
    (hint,) = hints_of(data, results_of(data, quality, write), caplog)
    assert words in hint


def test_arrays_that_were_encoded_row_by_row(caplog):
    """On square images: the size is right, and only the order of the pixels is not."""
    data = world(2, images=12)
    for image in data["images"]:
        image["width"] = HEIGHT
    for annotation in data["annotations"]:
        annotation["bbox"][0] *= 0.5

    def encode(box):
        x, y, w, h = np.round(box).astype(int)
        pixels = np.zeros((HEIGHT, HEIGHT), dtype=np.uint8)
        pixels[y : y + h, x : x + w] = 1
        return mask_utils.encode(np.asfortranarray(pixels.T))

    (hint,) = hints_of(data, results_of(data, GOOD, lambda boxes: boxes, encode=encode), caplog)
    assert "column by column" in hint


def test_ids_and_scores_of_masks_alone(caplog):
    data = world(3)
    hints = hints_of(data, results_of(data, EXACT, lambda boxes: boxes, score=50, shift=1), caplog)
    assert ["one above" in hint or "percent" in hint for hint in hints] == [True, True]
