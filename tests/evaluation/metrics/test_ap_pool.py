"""AP-Pool against a loop over the sorted detections of a group."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lt_det.evaluation.context import EvaluationContext
from lt_det.evaluation.matching.assignment import matched_at
from lt_det.evaluation.matching.ground_truth import GroundTruth
from lt_det.evaluation.matching.match import match
from lt_det.evaluation.metrics.ap_pool import pooled_tables
from lt_det.evaluation.metrics.average_precision import precision_table
from lt_det.evaluation.protocols import FIXED, POOL
from lt_det.evaluation.task_results import summarize_task
from lt_det.statistics.buckets import FrequencyBuckets
from tests.helpers.worlds import as_detections, small_world


def slow_pool(truth, matches, members):
    """(T, R) interpolated precision of all areas, from one sorted list of (score, image, class, index)."""
    in_group = set(members.tolist())
    objects = EvaluationContext(truth, POOL).num_objects[members, 0].sum()
    rows = sorted(
        (-matches.scores[i], matches.images[i], matches.classes[i], i)
        for i in range(len(matches))
        if matches.classes[i] in in_group
    )
    overlapping = {int(i): m for m, i in enumerate(matches.overlapping)}
    table = np.zeros((10, 101))
    for threshold in range(10):
        true = false = 0
        points = []
        right = dict(
            zip(
                *(column.tolist() for column in matched_at(matches.matched, matches.ignored, threshold, 0)), strict=True
            )
        )
        for *_, i in rows:
            m = overlapping.get(int(i))
            if m in right:
                true += right[m]
            else:
                false += bool(matches.fp_if_unmatched[i, 0])
            points.append((true / objects, true / (true + false + np.spacing(1))))
        for r, wanted_recall in enumerate(np.linspace(0, 1, 101)):
            table[threshold, r] = max((p for reached, p in points if reached >= wanted_recall), default=0)
    return table


@given(seed=st.integers(0, 10_000))
def test_equals_a_loop(seed):
    data, detections = small_world(seed)
    truth = GroundTruth.from_json(data)
    context = EvaluationContext(truth, POOL)
    matches = match(context, as_detections(detections, truth, "bbox"), "bbox")
    members = np.flatnonzero(np.random.default_rng(seed).random(truth.num_classes) < 0.7)
    table = next(pooled_tables(context, matches, members))
    if context.num_objects[members, 0].sum() == 0:
        assert len(table.classes) == len(table.precision) == 0
    else:
        np.testing.assert_allclose(table.precision[0], slow_pool(truth, matches, members), atol=1e-12)


def test_one_class_is_its_own_pool():
    data, detections = small_world(7)
    truth = GroundTruth.from_json(data)
    context = EvaluationContext(truth, POOL)
    matches = match(context, as_detections(detections, truth, "bbox"), "bbox")
    fixed, _ = precision_table(EvaluationContext(truth, FIXED), matches)
    for k in range(truth.num_classes):
        for area, alone in enumerate(pooled_tables(context, matches, np.asarray([k]))):
            known = [fixed[:, :, k, area]] if context.num_objects[k, area] else np.zeros((0, 10, 101))
            np.testing.assert_array_equal(alone.precision, known)


def test_scores_that_are_not_comparable_lower_pooled_ap_only():
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
    buckets = FrequencyBuckets(("rare", "frequent"), np.asarray([1, 0]))
    fixed_context, pool_context = (EvaluationContext(truth, protocol, buckets) for protocol in (FIXED, POOL))
    matches = match(pool_context, as_detections(found, truth, "bbox"), "bbox")
    fixed, pool = summarize_task(fixed_context, matches).summary, summarize_task(pool_context, matches)
    assert fixed.metrics["AP"] == pytest.approx(100)
    # Precision 1 up to recall 0.5 (51 of 101 thresholds), then 2 of 3.
    assert pool.summary.metrics["AP"] == pytest.approx(100 * (51 + 50 * 2 / 3) / 101)
    assert pool.summary.metrics["APr"] == pytest.approx(100)
    assert pool.summary.class_ap.tolist() == fixed.class_ap.tolist()
    assert pool.draws is None
