import msgspec
import numpy as np
import pytest

from lt_det.bakeoff.comparison import mean_intervals, paired_differences, spreads
from lt_det.evaluation.bakeoff_schema import BUCKET_MEAN, bucket_mean
from lt_det.evaluation.metrics.intervals import interval
from tests.helpers.bakeoffs import LVIS, UNSEEN, class_counts, classes_of, task_evaluation

BUCKETS = ["rare", "common", "frequent"]
CLASSES = classes_of(class_counts(62), LVIS)


def results(gain, first_seed, number=3, images="evaluation"):
    return [task_evaluation(CLASSES, LVIS, gain, 0.0, first_seed + seed, images) for seed in range(number)]


def draws(evaluations, name):
    return np.mean([evaluation.resamples.values[name] for evaluation in evaluations], axis=0)


def test_mean_and_deviation_over_the_seeds():
    found = results(5.0, 10)
    values = [result.metrics["APr"] for result in found]
    spread = spreads(found, BUCKETS)["APr"]
    assert spread.mean == pytest.approx(np.mean(values))
    assert spread.deviation == pytest.approx(np.std(values, ddof=1))
    assert spreads(found[:1], BUCKETS)["APr"].deviation is None
    means = [np.mean([result.metrics[name] for name in ("APr", "APc", "APf")]) for result in found]
    assert spreads(found, BUCKETS)[BUCKET_MEAN].mean == pytest.approx(np.mean(means))


def test_interval_of_the_mean_over_the_seeds():
    found = results(5.0, 10)
    ends = mean_intervals(found, BUCKETS)
    expected = interval(draws(found, "APr"), spreads(found, BUCKETS)["APr"].mean)
    assert ends["APr"] == pytest.approx(expected)
    of_buckets = np.mean([draws(found, name) for name in ("APr", "APc", "APf")], axis=0)
    assert ends[BUCKET_MEAN] == pytest.approx(interval(of_buckets, spreads(found, BUCKETS)[BUCKET_MEAN].mean))


def test_intervals_stay_within_the_range_of_ap():
    found = results(5.0, 10)
    shifted = []
    for evaluation in found:
        values = {name: [value - 50.0 for value in ap] for name, ap in evaluation.resamples.values.items()}
        resamples = msgspec.structs.replace(evaluation.resamples, values=values)
        metrics = {name: value if value is None else 0.1 for name, value in evaluation.metrics.items()}
        shifted.append(msgspec.structs.replace(evaluation, resamples=resamples, metrics=metrics))
    assert all(0 <= low <= high <= 100 for low, high in mean_intervals(shifted, BUCKETS).values())
    assert mean_intervals(shifted, BUCKETS)["APr"][0] == 0


def test_paired_differences():
    base, other = results(0.0, 0), results(5.0, 10)
    found = paired_differences(other, base, BUCKETS)["APr"]
    value = spreads(other, BUCKETS)["APr"].mean - spreads(base, BUCKETS)["APr"].mean
    assert found.value == pytest.approx(value)
    assert found.interval == pytest.approx(interval(draws(other, "APr") - draws(base, "APr"), value))
    # Pairing pays: the difference's interval is narrower than either's own.
    assert np.diff(found.interval) < 0.5 * np.diff(mean_intervals(base, BUCKETS)["APr"])


def test_other_draws_are_not_paired():
    base = results(0.0, 0)
    for other in (results(5.0, 10, images="other images"), [msgspec.structs.replace(base[0], resamples=None)]):
        found = paired_differences(other, base, BUCKETS)
        assert found["APr"].value is not None
        assert all(delta.interval is None for delta in found.values())
    assert mean_intervals([base[0], *results(0.0, 0, 1, "other images")], BUCKETS) == {}


def test_a_bucket_without_ap():
    classes = classes_of(class_counts(62), UNSEEN)
    found = [task_evaluation(classes, UNSEEN, 1.0, 0.0, seed, "evaluation") for seed in range(2)]
    names = [*UNSEEN[0]]
    assert spreads(found, names)["AP-unseen"].mean is None
    assert mean_intervals(found, names)["AP-unseen"] is None
    assert mean_intervals(found, names)[BUCKET_MEAN] is not None
    assert paired_differences(found, found, names)[BUCKET_MEAN].value == 0


def test_unseen_classes_are_not_in_the_mean_over_the_buckets():
    classes, names = classes_of(class_counts(62), UNSEEN), [*UNSEEN[0]]
    plain = task_evaluation(classes, UNSEEN, 1.0, 0.0, 0, "evaluation")
    resamples = msgspec.structs.replace(plain.resamples, values={**plain.resamples.values, "AP-unseen": [90.0] * 200})
    found = msgspec.structs.replace(plain, metrics={**plain.metrics, "AP-unseen": 90.0}, resamples=resamples)
    seen = [plain.metrics[name] for name in ("APr", "APc", "APf")]
    assert spreads([found], names)[BUCKET_MEAN].mean == pytest.approx(np.mean(seen))
    assert mean_intervals([found], names)[BUCKET_MEAN] == mean_intervals([plain], names)[BUCKET_MEAN]


def test_the_mean_over_the_buckets_of_unseen_classes_alone():
    assert bucket_mean({"AP-unseen": 30.0}, ["unseen"]) == 30.0
