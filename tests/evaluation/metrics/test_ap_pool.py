"""AP-Pool against a loop that sorts all detections of a group."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lt_det.evaluation.matching.assignment import hits
from lt_det.evaluation.matching.ground_truth import GroundTruth
from lt_det.evaluation.matching.match import match
from lt_det.evaluation.metrics.ap_pool import pooled_table
from lt_det.evaluation.metrics.average_precision import objects_that_count, precision_table
from lt_det.evaluation.protocols import FIXED, POOL
from lt_det.evaluation.summarize import judge
from lt_det.statistics.buckets import FrequencyBuckets
from tests.helpers.worlds import as_detections, small_world


def slow_pool(truth, matches, members):
    """(T, R) precision of all areas, from one list of (score, image, class, place) and what each became."""
    wanted = set(members.tolist())
    objects = objects_that_count(truth, POOL)[members, 0].sum()
    rows = sorted(
        (-matches.scores[i], matches.images[i], matches.classes[i], i)
        for i in range(len(matches))
        if matches.classes[i] in wanted
    )
    touching = {int(i): m for m, i in enumerate(matches.touching)}
    table = np.zeros((10, 101))
    for threshold in range(10):
        true = false = 0
        points = []
        right = dict(
            zip(*(column.tolist() for column in hits(matches.matched, matches.neutral, threshold, 0)), strict=True)
        )
        for *_, i in rows:
            m = touching.get(int(i))
            if m in right:
                true += right[m]
            else:
                false += bool(matches.wrong_if_unmatched[i, 0])
            points.append((true / objects, true / (true + false + np.spacing(1))))
        for r, wanted_recall in enumerate(np.linspace(0, 1, 101)):
            table[threshold, r] = max((p for reached, p in points if reached >= wanted_recall), default=0)
    return table


@given(seed=st.integers(0, 10_000))
def test_equals_a_loop(seed):
    data, detections = small_world(seed)
    truth = GroundTruth.from_json(data)
    matches = match(truth, as_detections(detections, truth, "bbox"), "bbox", POOL)
    members = np.flatnonzero(np.random.default_rng(seed).random(truth.num_classes) < 0.7)
    table, _ = pooled_table(truth, matches, POOL, members)
    if objects_that_count(truth, POOL)[members, 0].sum() == 0:
        assert (table[..., 0] == -1).all()
    else:
        np.testing.assert_allclose(table[:, :, 0, 0], slow_pool(truth, matches, members), atol=1e-12)


def test_one_class_is_its_own_pool():
    data, detections = small_world(7)
    truth = GroundTruth.from_json(data)
    matches = match(truth, as_detections(detections, truth, "bbox"), "bbox", POOL)
    fixed, _ = precision_table(truth, matches, FIXED)
    for k in range(truth.num_classes):
        alone, _ = pooled_table(truth, matches, POOL, np.asarray([k]))
        np.testing.assert_array_equal(alone[:, :, 0], fixed[:, :, k])


def test_scores_that_classes_do_not_share_cost_pooled_ap_only():
    """Two perfect classes, one of them with a false positive above all scores of the other."""
    data = {
        "images": [{"id": 1, "height": 99, "width": 99, "neg_category_ids": [2], "not_exhaustive_category_ids": []}],
        "categories": [{"id": 1, "name": "sure"}, {"id": 2, "name": "shy"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 2, "bbox": [0, 0, 9, 9], "area": 81, "iscrowd": 0}],
    }
    data["annotations"].append({**data["annotations"][0], "id": 2, "category_id": 1})
    found = [
        {"image_id": 1, "category_id": 1, "score": 0.9, "bbox": [0, 0, 9, 9]},
        {"image_id": 1, "category_id": 1, "score": 0.8, "bbox": [50, 50, 9, 9]},
        {"image_id": 1, "category_id": 2, "score": 0.1, "bbox": [0, 0, 9, 9]},
    ]
    truth = GroundTruth.from_json(data)
    matches = match(truth, as_detections(found, truth, "bbox"), "bbox", POOL)
    buckets = FrequencyBuckets(("rare", "frequent"), np.asarray([1, 0]))
    fixed, pool = judge(truth, matches, FIXED, buckets).summary, judge(truth, matches, POOL, buckets)
    assert fixed.metrics["AP"] == pytest.approx(100)
    # Precision 1 up to recall 0.5 (51 of 101 thresholds), then 2 of 3.
    assert pool.summary.metrics["AP"] == pytest.approx(100 * (51 + 50 * 2 / 3) / 101)
    assert pool.summary.metrics["APr"] == pytest.approx(100)
    assert pool.summary.class_ap.tolist() == fixed.class_ap.tolist()
    assert pool.draws is None
