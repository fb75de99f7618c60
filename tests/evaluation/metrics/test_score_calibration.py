"""Score calibration against a loop over detections, and on cases worked out by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lt_det.evaluation.context import EvaluationContext
from lt_det.evaluation.matching.ground_truth import GroundTruth
from lt_det.evaluation.matching.match import match
from lt_det.evaluation.metrics.average_precision import apply_limits
from lt_det.evaluation.metrics.score_calibration import calibration
from lt_det.evaluation.protocols import COCO, LVIS
from lt_det.evaluation.schema import CalibrationGroup
from lt_det.statistics.buckets import FrequencyBuckets
from tests.helpers.worlds import FAR, FIXED_4, OBJECT, A, B, as_detections, slow_kinds, small_world, two_buckets, world


def calibration_of(truth, detections, protocol, buckets=None):
    truth = GroundTruth.from_json(truth)
    return calibration_of_arrays(truth, as_detections(detections, truth, "bbox"), protocol, buckets)


def calibration_of_arrays(truth, detections, protocol, buckets=None):
    matches = match(EvaluationContext(truth, protocol), detections, "bbox")
    return calibration(apply_limits(matches, protocol), buckets or two_buckets(truth.num_classes))


def slow_group(detections):
    """Calibration of a list of (score, is correct)."""
    bins = [[] for _ in range(10)]
    for score, right in detections:
        bins[min(int(np.floor(score * 10 + 1e-9)), 9)].append((score, right))
    mean = [tuple(np.mean(entries, axis=0)) if entries else (None, None) for entries in bins]
    gaps = [
        len(entries) * abs(score - precision) for entries, (score, precision) in zip(bins, mean, strict=True) if entries
    ]
    return {
        "ece": sum(gaps) / len(detections) if detections else None,
        "count": [len(entries) for entries in bins],
        "score": [score for score, _ in mean],
        "precision": [precision for _, precision in mean],
    }


def assert_groups_equal(mine, theirs):
    assert mine.count == theirs["count"]
    assert mine.ece == pytest.approx(theirs["ece"])
    for name in ("score", "precision"):
        assert getattr(mine, name) == [None if x is None else pytest.approx(x) for x in theirs[name]]


@pytest.mark.parametrize("protocol", [LVIS, COCO, FIXED_4], ids=lambda protocol: protocol.name)
@settings(max_examples=60)
@given(seed=st.integers(0, 2**31), rounded=st.booleans())
def test_small_worlds(protocol, seed, rounded):
    """Scores on the edges of the bins, and between them."""
    truth, detections = small_world(seed)
    rng = np.random.default_rng(seed)
    for detection in detections:
        detection["score"] = float(round(rng.random(), 1) if rounded else rng.random())
    computed = calibration_of(truth, detections, protocol)
    counted, _ = slow_kinds(truth, detections, protocol, "bbox")
    place = {c: k for k, c in enumerate(sorted(category["id"] for category in truth["categories"]))}
    for group, members in (("all", (0, 1)), ("even", (0,)), ("odd", (1,)), ("none", ())):
        mine = [(d["score"], d["kind"] == "right") for d in counted if place[d["category_id"]] % 2 in members]
        assert_groups_equal(computed.groups[group], slow_group(mine))


def test_by_hand():
    """Scores 0.9 (correct) and 0.3 are off by 0.1 and 0.3; a score of 1 is in the last bin."""
    computed = calibration_of(*world([(A, OBJECT)], [(A, 0.9, OBJECT), (A, 0.3, FAR)]), COCO)
    assert computed.iou == 0.5
    assert computed.edges == [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1]
    group = computed.groups["all"]
    assert group.ece == pytest.approx((0.1 + 0.3) / 2)
    assert group.count == [0, 0, 0, 1, 0, 0, 0, 0, 0, 1]
    assert group.precision == [None, None, None, 0, *[None] * 5, 1]
    empty = CalibrationGroup(ece=None, count=[0] * 10, score=[None] * 10, precision=[None] * 10)
    assert computed.groups["odd"] == empty
    perfect = calibration_of(*world([(A, OBJECT)], [(A, 1.0, OBJECT)]), COCO).groups["all"]
    assert (perfect.ece, perfect.count[-1]) == (0, 1)


def test_ignored_detections_are_left_out():
    crowd = (A, OBJECT, {"iscrowd": 1})
    assert calibration_of(*world([crowd], [(A, 0.9, OBJECT)]), COCO).groups["all"].ece is None
    unknown = world([(A, OBJECT)], [(A, 0.75, OBJECT), (B, 0.5, FAR)], neg_category_ids=[])
    assert calibration_of(*unknown, LVIS).groups["all"].ece == 0.25
    assert calibration_of(*unknown, COCO).groups["all"].ece == pytest.approx((0.25 + 0.5) / 2)


@pytest.mark.parametrize("score", [-0.1, 1.5, np.nan])
def test_logits_are_not_probabilities(score):
    truth, detections = world([(A, OBJECT)], [(A, 0.9, OBJECT), (B, 0.5, FAR)])
    truth = GroundTruth.from_json(truth)
    detections = as_detections(detections, truth, "bbox")
    detections.scores[1] = score
    assert calibration_of_arrays(truth, detections, COCO) is None


def test_no_detection():
    truth, _ = small_world(1)
    groups = calibration_of(truth, [], LVIS).groups
    assert {group.ece for group in groups.values()} == {None}


def test_a_class_in_no_bucket_counts_among_all():
    truth, detections = world([(A, OBJECT)], [(A, 0.9, OBJECT)])
    groups = calibration_of(truth, detections, COCO, FrequencyBuckets(("some",), np.array([-1, 0]))).groups
    assert (sum(groups["all"].count), sum(groups["some"].count)) == (1, 0)
