"""lvis and pycocotools are the oracles: whole precision and recall arrays are equal bit for bit."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lt_det.errors import LtDetError
from lt_det.evaluation.matching.match import Matches, match
from lt_det.evaluation.protocols import COCO, FIXED, LVIS, PROTOCOLS, Protocol
from lt_det.evaluation.reference import official_table
from lt_det.io.annotations.coco_json import load_annotations
from tests.helpers.worlds import (
    SIZE,
    as_detections,
    context_of,
    noisy_detections,
    small_world,
    table_of,
    table_of_matches,
)

both_protocols = pytest.mark.parametrize("protocol", [LVIS, COCO], ids=lambda protocol: protocol.name)


def oracle(*arguments):
    """The official package's tables at its usual limit."""
    precision, recall = official_table(*arguments)
    return precision, recall[..., -1]


def assert_bitwise(computed, expected):
    for found, official in zip(computed, expected, strict=True):
        np.testing.assert_array_equal(found, official)


@both_protocols
@given(st.integers(0, 2**31))
def test_boxes_of_small_worlds(protocol, seed):
    truth, detections = small_world(seed)
    assert_bitwise(table_of(truth, detections, "bbox", protocol), oracle(protocol.name, truth, detections, "bbox"))


@both_protocols
@given(st.integers(0, 2**31))
def test_masks_of_small_worlds(protocol, seed):
    truth, detections = small_world(seed, masks=True)
    assert_bitwise(table_of(truth, detections, "segm", protocol), oracle(protocol.name, truth, detections, "segm"))


@pytest.mark.parametrize("limit", [1, 3, 7])
@given(st.integers(0, 2**31))
def test_limit_per_image(limit, seed):
    """Including ties at the limit."""
    truth, detections = small_world(seed)
    limited = Protocol("limited", federated=True, per_image=limit)
    assert_bitwise(table_of(truth, detections, "bbox", limited), oracle("lvis", truth, detections, "bbox", limit))


@given(st.integers(0, 2**31))
def test_fixed_is_lvis_on_the_best_of_each_class(seed):
    truth, detections = small_world(seed)
    kept = []
    for category in truth["categories"]:
        of_class = [d for d in detections if d["category_id"] == category["id"]]
        kept += sorted(of_class, key=lambda d: -d["score"])[:4]  # ties in the order of the file
    fixed = Protocol("fixed", federated=True, per_class=4)
    assert_bitwise(table_of(truth, detections, "bbox", fixed), oracle("lvis", truth, kept, "bbox", -1))


@both_protocols
@given(st.integers(0, 2**31), st.integers(1, 3))
def test_parts_are_the_whole(protocol, seed, possible_pairs):
    """In chunks of images, and gathered from two processes that each had every other image."""
    truth, detections = small_world(seed)
    whole = table_of(truth, detections, "bbox", protocol)
    assert_bitwise(table_of(truth, detections, "bbox", protocol, possible_pairs=possible_pairs), whole)
    context = context_of(truth, protocol)
    found = as_detections(detections, context.ground_truth, "bbox")
    parts = [match(context, found.select(found.images % 2 == rank), "bbox") for rank in (1, 0)]
    assert_bitwise(table_of_matches(context, Matches.concatenate(parts)), whole)


@both_protocols
@pytest.mark.parametrize("task", ["bbox", "segm"])
@pytest.mark.parametrize("seed", [0, 1])
def test_files_in_lvis_format(lvis_file, protocol, task, seed):
    truth = load_annotations(lvis_file)
    detections = noisy_detections(truth, seed, extra=0 if task == "segm" else 4000)
    busiest = truth["images"][0]["id"]
    crowded = [d | {"image_id": busiest} for d in detections[:400]] if task == "bbox" else []
    detections = detections + crowded  # more than any protocol counts in an image
    for detection in detections:
        detection["score"] = round(detection["score"], 2)
    assert_bitwise(table_of(truth, detections, task, protocol), oracle(protocol.name, truth, detections, task))


def test_files_in_coco_format(coco_file):
    truth = load_annotations(coco_file)
    truth["annotations"] = list({a["id"]: a for a in truth["annotations"]}.values())  # COCO needs them unique
    for number, annotation in enumerate(truth["annotations"]):
        annotation["iscrowd"] = int(number % 9 == 0)
    detections = noisy_detections(truth)
    assert_bitwise(table_of(truth, detections, "bbox", COCO), oracle("coco", truth, detections, "bbox"))


def test_no_detection_is_zero_where_there_is_an_object():
    truth, _ = small_world(3)
    for protocol in PROTOCOLS.values():
        precision, recall = table_of(truth, [], "bbox", protocol)
        assert set(np.unique(precision)) <= {-1.0, 0.0}
        assert set(np.unique(recall)) <= {-1.0, 0.0}
        assert (precision == 0).any()


def test_fixed_takes_ten_thousand_of_a_class():
    assert (FIXED.per_class, FIXED.per_image) == (10_000, None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 999}, "1 detection .*'image_id'.* 999"),
        ({"category_id": 999}, "1 detection .*'category_id'.* 999"),
    ],
)
def test_ids_of_another_json(change, message):
    truth, detections = small_world(1)
    detections[0] |= change
    with pytest.raises(LtDetError, match=message):
        table_of(truth, detections, "bbox", LVIS)


def test_missing_masks():
    truth, detections = small_world(1)
    with pytest.raises(LtDetError, match="no 'segmentation'"):
        table_of(truth, detections, "segm", LVIS)


def test_of_equal_overlaps_the_later_object_is_taken():
    """So a second detection, which fits the left object only, finds that free."""
    objects = [[0.0, 0.0, 48.0, 16.0], [16.0, 0.0, 48.0, 16.0]]
    truth = {
        "images": [{"id": 1, "height": SIZE, "width": SIZE}],
        "categories": [{"id": 1, "name": "a"}],
        "annotations": [
            {"id": n + 1, "image_id": 1, "category_id": 1, "bbox": box, "area": 768.0, "iscrowd": 0}
            for n, box in enumerate(objects)
        ],
    }
    detections = [
        {"image_id": 1, "category_id": 1, "score": score, "bbox": box}
        for score, box in ((0.9, [8.0, 0.0, 48.0, 16.0]), (0.8, [0.0, 0.0, 46.0, 16.0]))
    ]
    for protocol in (LVIS, COCO):
        _, recall = computed = table_of(truth, detections, "bbox", protocol)
        assert recall[0, 0, 0] == 1
        assert_bitwise(computed, oracle(protocol.name, truth, detections, "bbox"))


def test_limits_of_the_protocols():
    """400 detections of two classes in one image, with the correct ones last."""
    truth, _ = small_world(1)
    box = [0.0, 0.0, 32.0, 32.0]
    truth["images"] = [{"id": 1, "height": SIZE, "width": SIZE, "neg_category_ids": []}]
    truth["categories"] = [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]
    truth["annotations"] = [
        {"id": k, "image_id": 1, "category_id": k, "bbox": box, "area": 1024.0, "iscrowd": 0} for k in (1, 2)
    ]
    wrong = [64.0, 64.0, 16.0, 16.0]
    detections = [{"image_id": 1, "category_id": 1 + n % 2, "score": 1 - n / 500, "bbox": wrong} for n in range(400)]
    for protocol, last in ((LVIS, 299), (LVIS, 300), (COCO, 199), (COCO, 200), (FIXED, 399)):
        for n, detection in enumerate(detections):
            detection["bbox"] = box if n == last else wrong
        found = table_of(truth, detections, "bbox", protocol)
        limit = {"lvis": 300, "coco": 200, "fixed": 400}[protocol.name]  # 100 of each of two classes
        assert (found[1][0, :, 0].max() == 1) == (last < limit)
        if protocol is not FIXED:
            assert_bitwise(found, oracle(protocol.name, truth, detections, "bbox"))


def test_worlds_contain_the_hard_cases():
    """Ties, crowds, lists and empty images occur in the worlds above."""
    worlds = [small_world(seed) for seed in range(30)]
    assert any(a["iscrowd"] for truth, _ in worlds for a in truth["annotations"])
    assert any(image["not_exhaustive_category_ids"] for truth, _ in worlds for image in truth["images"])
    assert any(
        one["score"] == other["score"] and one["image_id"] == other["image_id"]
        for _, detections in worlds
        for one, other in itertools.pairwise(detections)
    )
    assert any({i["id"] for i in t["images"]} - {a["image_id"] for a in t["annotations"]} for t, _ in worlds)
