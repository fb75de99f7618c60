"""The bootstrap against resampled sets that are really made."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lt_det.errors import LtDetError
from lt_det.evaluation.matching.match import match
from lt_det.evaluation.metrics.average_precision import apply_limits, precision_table
from lt_det.evaluation.metrics.bootstrap import BootstrapCurves, bootstrap, check_draws, fingerprint
from lt_det.evaluation.metrics.bucket_ap import summarize
from lt_det.evaluation.metrics.intervals import interval
from lt_det.evaluation.protocols import COCO, LVIS
from lt_det.statistics.buckets import FrequencyBuckets
from lt_det.statistics.class_stats import ClassStats
from tests.helpers.worlds import as_detections, context_of, noisy_detections, small_world


def matched(data, detections, protocol, *buckets):
    """The context, and the matches within the limits."""
    context = context_of(data, protocol, *buckets)
    matches = match(context, as_detections(detections, context.ground_truth, "bbox"), "bbox")
    return context, apply_limits(matches, protocol)


def untied(detections):
    """Ties of a true and a false positive in one image are broken differently if the image counts twice."""
    return [{**d, "score": d["score"] + 1e-6 * number} for number, d in enumerate(detections)]


def repeated(truth, detections, times):
    """The set that contains image i times[i] times, with its copies next to each other."""
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
    context, matches = matched(truth, detections, protocol)
    ap, known = BootstrapCurves.from_matches(context, matches).average_precision(times)

    made, found = repeated(truth, detections, times)
    if not made["images"]:
        assert not known.any()
        return
    table, _ = precision_table(*matched(made, found, protocol))
    expected = table[..., 0].mean(axis=1)
    assert known.tolist() == (expected[0] > -1).tolist()
    np.testing.assert_allclose(ap[:, known], expected[:, known], atol=1e-9)


def test_every_image_once_is_the_evaluation(mini):
    from lt_det.io.annotations.coco_json import load_annotations

    data = load_annotations(mini.val_json)
    buckets = FrequencyBuckets.from_edges(ClassStats.from_json(mini.train_json))
    context, matches = matched(data, noisy_detections(data), LVIS, buckets)
    once = np.ones(context.num_images, dtype=np.int64)
    ap, known = BootstrapCurves.from_matches(context, matches).average_precision(once)
    summary = summarize(*precision_table(context, matches), buckets)
    assert ap[:, known].mean() * 100 == pytest.approx(summary.metrics["AP"], abs=1e-9)

    draws = bootstrap(context, matches, 200)
    assert set(draws) == {"AP", "AP50", "AP75", "APr", "APc", "APf"}
    low, high = interval(draws["AP"], summary.metrics["AP"])
    assert low < summary.metrics["AP"] < high
    assert 0.5 < high - low < 20
    np.testing.assert_array_equal(draws["APr"], bootstrap(context, matches, 200)["APr"])


def test_different_sets_have_different_fingerprints(mini):
    from lt_det.io.annotations.coco_json import load_annotations

    data = load_annotations(mini.val_json)
    fewer = {**data, "annotations": data["annotations"][1:]}
    contexts = [context_of(data, LVIS), context_of(data, COCO), context_of(fewer, LVIS)]
    prints = {fingerprint(context) for context in contexts}
    assert len(prints) == 3
    assert fingerprint(context_of(data, LVIS)) in prints


def test_ids_beyond_64_bits_have_one_fingerprint():
    prints = set()
    for _ in range(2):
        data, _ = small_world(1)
        for image in data["images"]:
            image["id"] += 2**70
        for annotation in data["annotations"]:
            annotation["image_id"] += 2**70
        prints.add(fingerprint(context_of(data, LVIS)))
    assert len(prints) == 1


def test_no_interval_for_a_bucket_in_few_images():
    """Most draws would contain the same object, and the interval would have no width."""
    truth, detections = small_world(3)
    buckets = FrequencyBuckets(("rare",), np.zeros(len(truth["categories"]), dtype=np.int64))
    context, matches = matched(truth, detections, COCO, buckets)
    assert context.num_images < 5
    draws = bootstrap(context, matches, 100)
    assert np.isnan(draws["APr"]).all()
    assert interval(draws["APr"], 50.0) is None


@pytest.mark.parametrize("draws", [-1, 1, 99, 10**9])
def test_too_few_or_too_many_draws(draws):
    with pytest.raises(LtDetError, match=rf"TEST\.RESAMPLES is {draws}.*100 to 100000"):
        check_draws(draws, "TEST.RESAMPLES")
