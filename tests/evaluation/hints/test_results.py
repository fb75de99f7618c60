"""Results in another convention are noticed, and right results, however bad the detector, are not suspected."""

import logging

import numpy as np
import pytest
from pycocotools import mask as mask_utils

from lt_det.errors import LtDetError
from lt_det.evaluation import evaluate
from lt_det.evaluation.hints.image_id_readings import ImageIds
from lt_det.evaluation.hints.results import result_hints
from lt_det.evaluation.matching.detections import Detections
from lt_det.evaluation.matching.ground_truth import GroundTruth
from tests.helpers.jittered_detections import (
    BAD,
    EXACT,
    GOOD,
    HEIGHT,
    SIDES,
    WEAK,
    WIDTH,
    centers,
    corners,
    detections_of,
    rewritten,
    world,
)


def mirrored(boxes, axes):
    written = boxes.copy()
    written[:, axes] = (SIDES[:2] - boxes[:, :2] - boxes[:, 2:])[:, axes]
    return written


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("quality", [EXACT, GOOD, WEAK, BAD])
def test_right_results_are_not_suspected(quality, clip):
    for seed in range(12):
        data = world(seed, images=2 if seed % 2 else 20)
        truth, images = GroundTruth.from_json(data), ImageIds(data["images"])
        found = detections_of(truth, quality, seed, clip)
        for written_as in ("xywh", "xyxy"):
            hints = result_hints(found, truth, written_as, images=images)
            assert hints == [] or (quality == BAD and hints[0].startswith("Only "))  # its boxes are anywhere
        one_class = Detections(found.images, np.zeros_like(found.classes), found.scores, found.boxes)
        hints = result_hints(one_class, truth, "xywh", images=images)
        assert all(hint.startswith(("All detections have", "Only ")) for hint in hints)


@pytest.mark.parametrize("quality", [EXACT, GOOD, WEAK])
@pytest.mark.parametrize(
    ("write", "words"),
    [
        (corners, "corners x1, y1, x2, y2 in pixels"),
        (centers, "centers x, y with width, height in pixels"),
        (lambda boxes: corners(boxes)[:, [1, 0, 3, 2]], "corners y1, x1, y2, x2 in pixels"),
        (lambda boxes: boxes / SIDES, "x, y, width, height in fractions"),
        (lambda boxes: corners(boxes) / SIDES, "corners x1, y1, x2, y2 in fractions"),
        (lambda boxes: centers(boxes) / SIDES, "centers x, y with width, height in fractions"),
        (lambda boxes: boxes / SIDES * 100, "x, y, width, height in percent"),
        (lambda boxes: corners(boxes) / SIDES * 1000, "corners x1, y1, x2, y2 in thousandths"),
        (lambda boxes: boxes * 2.5, "all images had been resized by a factor of about 2.5"),
        (lambda boxes: boxes * 0.5, "all images had been resized by a factor of about 0.5"),
        (lambda boxes: boxes / SIDES * 300, "each image had been resized to about"),
        (lambda boxes: boxes + 700, "mostly outside their images"),
        (lambda boxes: boxes + np.array([20, 60, 0, 0]), "if moved by -"),
        (lambda boxes: mirrored(boxes, [1]), "with y from the bottom of the image"),
        (lambda boxes: mirrored(boxes, [0]), "with x from its right side"),
        (lambda boxes: mirrored(boxes, [0, 1]), "with both from the lower right"),
    ],
)
def test_other_conventions_are_named(write, words, quality):
    truth = GroundTruth.from_json(world(1))
    found = detections_of(truth, quality, 1, clip=True)
    (hint,) = result_hints(rewritten(found, write(found.boxes)), truth, "xywh", images=ImageIds())
    assert words in hint


def test_boxes_of_other_images_are_noticed_where_no_reading_fits():
    """Those of a weak detector overlap more objects in their own images than in others."""
    for seed in range(12):
        truth = GroundTruth.from_json(world(seed, images=40))
        for quality in (GOOD, WEAK):
            found = detections_of(truth, quality, seed)
            assert result_hints(found, truth, "xywh", images=ImageIds()) == []
            others = np.random.default_rng(seed).permutation(40)[found.images]
            exchanged = Detections(others, found.classes, found.scores, found.boxes)
            (hint,) = result_hints(exchanged, truth, "xywh", images=ImageIds())
            assert hint.startswith("Only ")


@pytest.mark.parametrize(("side", "words"), [(max, "longer side of each image"), (min, "shorter side of each image")])
def test_boxes_of_images_that_were_resized_to_one_side(side, words):
    data = world(3)
    for number, image in enumerate(data["images"]):
        image |= {"width": 640 + 90 * (number % 3), "height": 480 + 70 * (number % 5)}
    truth = GroundTruth.from_json(data)
    found = detections_of(truth, GOOD, 3)
    factors = np.asarray([320 / side(size) for size in truth.sizes.tolist()])
    (hint,) = result_hints(
        rewritten(found, found.boxes * factors[found.images, None]), truth, "xywh", images=ImageIds()
    )
    assert f"the {words} had been resized to about 3" in hint


@pytest.mark.parametrize("write", [[0, 0.5, 1, 1], [-0.4, -0.4, 1.8, 1.8], [0, 0, 1, 0.45]])
def test_boxes_that_are_bad_in_one_way_are_not_of_resized_images(write):
    """The camera sees each object at the same place, so a shift there looks like a factor."""
    x, y, width, height = write
    data = world(0, images=40)
    for annotation in data["annotations"]:
        annotation["bbox"] = [200 + annotation["id"] % 7, 150 + annotation["id"] % 5, 120, 90]
    truth = GroundTruth.from_json(data)
    found = detections_of(truth, GOOD, 1)
    sides = found.boxes[:, 2:]
    boxes = np.concatenate([found.boxes[:, :2] + [x, y] * sides, [width, height] * sides], axis=1)
    assert not any(
        "resized" in hint for hint in result_hints(rewritten(found, boxes), truth, "xywh", images=ImageIds())
    )


def test_boxes_of_dictionaries_that_are_no_corners():
    truth = GroundTruth.from_json(world(1))
    found = detections_of(truth, GOOD, 1)
    wrong = np.concatenate([found.boxes[:, :2], found.boxes[:, 2:] - found.boxes[:, :2]], axis=1)  # x, y, w, h as given
    (hint,) = result_hints(rewritten(found, wrong), truth, "xyxy", images=ImageIds())
    assert "as x, y, width, height in pixels" in hint


@pytest.mark.parametrize(
    ("category_ids", "written", "words"),
    [
        ((1, 2, 3, 4, 5), lambda ids: ids + 1, "one above"),
        ((0, 1, 2, 3, 4, 5), lambda ids: np.maximum(ids - 1, 0), "one below"),
        ((2, 3, 4, 5, 7, 9), lambda ids: np.searchsorted((2, 3, 4, 5, 7, 9), ids) + 1, "class numbers, 1 to 6"),
    ],
)
def test_ids_that_are_shifted_but_known(category_ids, written, words, caplog):
    data = world(2, category_ids=category_ids)
    known = np.asarray(category_ids)
    results = [
        {"image_id": a["image_id"], "category_id": int(written(a["category_id"])), "score": 0.5, "bbox": a["bbox"]}
        for a in data["annotations"]
    ]
    results = [result for result in results if result["category_id"] in known]
    with caplog.at_level(logging.WARNING):
        evaluate(data, results)
    assert f"would have it if their ids were {words}" in caplog.text


@pytest.mark.parametrize(
    ("category_ids", "written", "words"),
    [
        ((1, 2, 3), (0, 1, 2), "class indices, 0 to 2"),
        ((1, 2, 90), (1, 2, 3), "class numbers, 1 to 3"),
        ((7, 8, 9, 20), (8, 9, 10), "one above"),
        ((1, 2, 3), (55, 1, 2), ""),
        ((1, 2, 3), ("Class 1", "class 3"), "names of categories"),
        ((1, 2, 3), ("class 1", "class 9"), ""),
        ((1, 2, 3), ("class 1", 2), ""),
    ],
)
def test_unknown_ids(category_ids, written, words):
    data = world(3, category_ids=category_ids)
    for category in data["categories"]:
        category["name"] = f"class {category['id']}"
    results = [{"image_id": 1, "category_id": id_, "score": 0.5, "bbox": [1, 1, 9, 9]} for id_ in written]
    with pytest.raises(LtDetError, match="'category_id'") as raised:
        evaluate(data, results)
    assert ("could be " in str(raised.value)) == bool(words)
    assert words in str(raised.value)


def test_scores_in_percent(caplog):
    data = world(4)
    results = [
        {"image_id": a["image_id"], "category_id": a["category_id"], "score": 87.5, "bbox": a["bbox"]}
        for a in data["annotations"]
    ]
    with caplog.at_level(logging.WARNING):
        assert evaluate(data, results).metrics["bbox"]["AP"] == pytest.approx(100)
    assert "87.5, so they are probably percent" in caplog.text
    caplog.clear()
    evaluate(data, [result | {"score": score} for score, result in zip((-3, 7), results, strict=False)])
    assert "from -3 to 7" in caplog.text


def test_many_boxes_without_an_area_are_an_error():
    data = world(5)
    results = [
        {"image_id": a["image_id"], "category_id": a["category_id"], "score": 0.5, "bbox": a["bbox"]}
        for a in data["annotations"]
    ]
    for result in results[:3]:
        result["bbox"] = [5, 5, 0, 5]
    flat = len(results) // 10 + 1
    evaluate(data, results)
    for result in results[:flat]:
        result["bbox"] = [5, 5, 0, 5]
    with pytest.raises(LtDetError, match=f"{flat} of {len(results)} boxes"):
        evaluate(data, results)
    inverted = [result | {"bbox": [9, 9, -3, -4]} for result in results]
    with pytest.raises(LtDetError, match=f"{len(results)} of {len(results)} boxes"):
        evaluate(data, inverted)


def test_many_masks_of_another_size_are_an_error():
    data = world(6, images=4)
    mask = mask_utils.encode(np.asfortranarray(np.ones((WIDTH, HEIGHT), dtype=np.uint8)))  # the sides exchanged
    for annotation in data["annotations"]:
        x, y, w, h = annotation["bbox"]
        annotation["segmentation"] = [[x, y, x + w, y, x + w, y + h]]
    results = [
        {"image_id": a["image_id"], "category_id": a["category_id"], "score": 0.5, "segmentation": a["segmentation"]}
        for a in data["annotations"]
    ]
    evaluate(data, results, iou="segm")
    assert 10 < len(results) < 30
    results = [result | {"segmentation": mask} for result in results[:3]] + results[3:]
    with pytest.raises(LtDetError, match=rf"3 of {len(results)} masks .* {WIDTH} x {HEIGHT} .*each other's place"):
        evaluate(data, results, iou="segm")
