"""The bootstrap against resampled sets that are really made."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lt_det.errors import LtDetError
from lt_det.evaluation.matching.ground_truth import GroundTruth
from lt_det.evaluation.matching.match import match
from lt_det.evaluation.metrics.average_precision import precision_table
from lt_det.evaluation.metrics.bootstrap import Curves, bootstrap, check_draws, fingerprint
from lt_det.evaluation.metrics.bucket_ap import summarize
from lt_det.evaluation.metrics.intervals import interval
from lt_det.evaluation.protocols import COCO, LVIS
from lt_det.statistics.buckets import FrequencyBuckets
from lt_det.statistics.class_stats import ClassStats
from tests.helpers.worlds import as_detections, noisy_detections, small_world


def untied(detections):
    """A tie of a right with a wrong detection in one image is broken otherwise where the image counts twice."""
    return [{**d, "score": d["score"] + 1e-6 * number} for number, d in enumerate(detections)]


def repeated(truth, detections, times):
    """The set in which image i really stands times[i] times, its copies beside each other."""
    images, annotations, found = [], [], []
    for image, number in zip(sorted(truth["images"], key=lambda image: image["id"]), times, strict=True):
        for copy in range(number):
            name = image["id"] * 100 + copy
            images.append({**image, "id": name})
            annotations += [{**a, "image_id": name} for a in truth["annotations"] if a["image_id"] == image["id"]]
            found += [{**d, "image_id": name} for d in detections if d["image_id"] == image["id"]]
    return {**truth, "images": images, "annotations": annotations}, found


@pytest.mark.parametrize("protocol", [LVIS, COCO], ids=lambda protocol: protocol.name)
@given(seed=st.integers(0, 10_000))
def test_equals_the_resampled_set(protocol, seed):
    truth, detections = small_world(seed)
    detections = untied(detections)
    times = np.random.default_rng(seed).integers(0, 4, len(truth["images"]))
    ground_truth = GroundTruth.from_json(truth)
    matches = match(ground_truth, as_detections(detections, ground_truth, "bbox"), "bbox", protocol)
    ap, known = Curves.of(ground_truth, matches, protocol).average_precision(times)

    made, found = repeated(truth, detections, times)
    ground_truth = GroundTruth.from_json(made)
    if not len(ground_truth.image_ids):
        assert not known.any()
        return
    matches = match(ground_truth, as_detections(found, ground_truth, "bbox"), "bbox", protocol)
    table, _ = precision_table(ground_truth, matches, protocol)
    expected = table[..., 0].mean(axis=1)
    assert known.tolist() == (expected[0] > -1).tolist()
    np.testing.assert_allclose(ap[:, known], expected[:, known], atol=1e-9)


def test_every_image_once_is_the_evaluation(mini):
    from lt_det.io.coco_json import load_annotations

    data = load_annotations(mini.val_json)
    truth = GroundTruth.from_json(data)
    matches = match(truth, as_detections(noisy_detections(data), truth, "bbox"), "bbox", LVIS)
    ap, known = Curves.of(truth, matches, LVIS).average_precision(np.ones(len(truth.image_ids), dtype=np.int64))
    buckets = FrequencyBuckets.from_edges(ClassStats.from_json(mini.train_json))
    summary = summarize(*precision_table(truth, matches, LVIS), buckets)
    assert ap[:, known].mean() * 100 == pytest.approx(summary.metrics["AP"], abs=1e-9)

    draws = bootstrap(truth, matches, LVIS, buckets, 200)
    assert set(draws) == {"AP", "AP50", "AP75", "APr", "APc", "APf"}
    low, high = interval(draws["AP"], summary.metrics["AP"])
    assert low < summary.metrics["AP"] < high
    assert 0.5 < high - low < 20
    np.testing.assert_array_equal(draws["APr"], bootstrap(truth, matches, LVIS, buckets, 200)["APr"])


def test_sets_that_differ_are_told_apart(mini):
    from lt_det.io.coco_json import load_annotations

    data = load_annotations(mini.val_json)
    truth = GroundTruth.from_json(data)
    fewer = GroundTruth.from_json({**data, "annotations": data["annotations"][1:]})
    prints = {fingerprint(truth, LVIS), fingerprint(truth, COCO), fingerprint(fewer, LVIS)}
    assert len(prints) == 3
    assert fingerprint(GroundTruth.from_json(data), LVIS) in prints


def test_ids_beyond_64_bits_have_one_fingerprint():
    prints = set()
    for _ in range(2):
        data, _ = small_world(1)
        for image in data["images"]:
            image["id"] += 2**70
        for annotation in data["annotations"]:
            annotation["image_id"] += 2**70
        prints.add(fingerprint(GroundTruth.from_json(data), LVIS))
    assert len(prints) == 1


def test_no_interval_for_a_bucket_in_few_images():
    """Most draws would hold the same object, and the interval would have no width."""
    truth, detections = small_world(3)
    arrays = GroundTruth.from_json(truth)
    matches = match(arrays, as_detections(detections, arrays, "bbox"), "bbox", COCO)
    buckets = FrequencyBuckets(("rare",), np.zeros(arrays.num_classes, dtype=np.int64))
    assert len(arrays.image_ids) < 5
    draws = bootstrap(arrays, matches, COCO, buckets, 100)
    assert np.isnan(draws["APr"]).all()
    assert interval(draws["APr"], 50.0) is None


@pytest.mark.parametrize("draws", [-1, 1, 99, 10**9])
def test_numbers_of_draws_that_make_no_interval(draws):
    with pytest.raises(LtDetError, match=rf"TEST\.RESAMPLES is {draws}; write a number of draws from 100 to 100000"):
        check_draws(draws, "TEST.RESAMPLES")
