import math

import msgspec
import pytest

from lt_det.bakeoff.choice import agreement, mean_delta, recommend, recommend_by_evaluation, rule_in_words
from lt_det.bakeoff.limits import standing_limits
from lt_det.evaluation.bakeoff_schema import BUCKET_MEAN, Delta, Entry, FoldResult, SeedResult, Spread
from tests.helpers.bakeoffs import TWO, UNSEEN, bakeoff

BUCKETS = ["rare", "common", "frequent"]


def fold(number, mean, frequent, ap=50.0, half=1.0):
    """A held-out fold with this mean over the buckets and this difference of APf; `half` of its interval."""
    interval = None if half is None else [frequent - half, frequent + half]
    deltas = {"APf": Delta(value=frequent, interval=interval), BUCKET_MEAN: Delta(value=mean - 40.0)}
    metrics = {"AP": ap, "APf": 60.0 + frequent, BUCKET_MEAN: mean}
    return FoldResult(fold=number, metrics=metrics, differences=deltas)


def candidate(name, means, frequent=0.0, kind="trained", evaluation=None, **options):
    folds = [fold(number, mean, frequent, **options) for number, mean in enumerate(means)]
    value = evaluation if evaluation is not None else sum(means) / max(len(means), 1)
    metrics = {"AP": value, BUCKET_MEAN: value}
    return Entry(
        name=name,
        kind=kind,
        folds=folds,
        seeds=[SeedResult(seed=0, metrics=metrics, class_ap=[])],
        metrics={key: Spread(mean=number) for key, number in metrics.items()},
        differences={"APf": Delta(value=frequent, interval=[frequent - 1, frequent + 1])},
    )


BASELINE = candidate("softmax", (40.0, 40.0, 40.0), kind="retrained")


def chosen(*candidates, buckets=BUCKETS):
    return recommend([candidate("as it stands", (), kind="as_is"), *candidates], buckets).name


def test_the_best_mean_over_the_buckets_wins():
    assert chosen(candidate("a", (44, 45, 46)), BASELINE, candidate("b", (43, 47, 46))) == "b"


def test_a_candidate_that_loses_on_frequent_classes_beyond_the_interval_is_ruled_out():
    # Half-widths of 1 on three folds make one of 0.58 for their mean.
    for frequent, name in ((-0.5, "a"), (-0.7, "b")):
        found = recommend([BASELINE, candidate("a", (50, 50, 50), frequent), candidate("b", (45, 45, 45))], BUCKETS)
        assert found.name == name
        assert ("a, -0.7 points" in found.reason) == (name == "b")


def test_without_intervals_frequent_classes_may_not_lose_at_all():
    entries = [BASELINE, candidate("a", (50, 50, 50), -0.1, half=None), candidate("b", (45, 45, 45), 0.0, half=None)]
    assert recommend(entries, BUCKETS).name == "b"


def test_the_baseline_is_kept_where_nothing_beats_it():
    assert chosen(BASELINE, candidate("a", (50, 50, 50), -9.0), candidate("b", (39, 39, 39))) == "softmax"
    assert chosen(candidate("a", (40, 40, 40)), BASELINE) == "softmax"


def test_the_evaluation_set_takes_no_part():
    good = candidate("a", (46, 46, 46), evaluation=10.0)
    bad = candidate("b", (41, 41, 41), evaluation=90.0)
    assert chosen(BASELINE, good, bad) == "a"
    assert chosen(BASELINE, msgspec.structs.replace(good, seeds=[], metrics={}, differences={}), bad) == "a"


@pytest.mark.parametrize(
    ("interval", "words"), [([-0.7, 1.3], "an interval that includes 0"), ([0.1, 1.3], ""), (None, "")]
)
def test_the_reason_gives_the_difference_on_both_sets_of_images(interval, words):
    delta = Delta(value=0.3, interval=interval)
    reason = recommend(
        [BASELINE, msgspec.structs.replace(candidate("a", (46, 46, 46)), differences={BUCKET_MEAN: delta})], BUCKETS
    ).reason
    assert "held-out training images, a has" in reason
    assert "evaluation set, the difference of this mean is +0.3 points" in reason
    assert ("includes 0" in reason) == bool(words)


@pytest.mark.parametrize(
    "excluded",
    [
        candidate("x", (90, 90, 90), kind="as_is"),
        candidate("x", (90, 90, 90), kind="post_hoc"),
        candidate("x", (90, 90)),
        msgspec.structs.replace(candidate("x", (90, 90, 90)), failed="It is not finite."),
    ],
)
def test_what_takes_no_part(excluded):
    assert chosen(BASELINE, candidate("a", (41, 41, 41)), excluded) == "a"


def test_ap_only_looks_at_nothing_else():
    entries = [BASELINE, candidate("a", (45, 45, 45), ap=50.0), candidate("b", (42, 42, 42), -9.0, ap=55.0)]
    found = recommend(entries, BUCKETS)
    assert (found.name, found.for_ap_only) == ("a", "b")
    assert "55.0" in found.for_ap_only_reason


def test_no_choice_without_the_baseline():
    for entries in ([], [candidate("a", (45, 45, 45))], [msgspec.structs.replace(BASELINE, folds=[])]):
        found = recommend(entries, BUCKETS)
        assert (found.name, found.for_ap_only) == (None, None)
        assert found.reason
        assert agreement(entries, BUCKETS) is None


@pytest.mark.parametrize(("division", "frequent"), [(TWO, "many"), (UNSEEN, "frequent"), ((("all",), ()), "all")])
def test_any_buckets(division, frequent):
    found = bakeoff(division=division).recommendation
    assert found.name == "seesaw"
    assert frequent in found.rule
    assert "unseen" not in found.rule


def test_interval_of_the_mean_over_folds():
    # Independent errors of 3 and 4 make sqrt(9 + 16) / 2 for the mean of two.
    found = mean_delta([Delta(value=1.0, interval=[-2.0, 4.0]), Delta(value=3.0, interval=[-1.0, 7.0])])
    assert found.value == 2.0
    assert found.interval == pytest.approx([2.0 - 2.5, 2.0 + 2.5])
    assert mean_delta([Delta(value=1.0, interval=[0.0, 2.0]), Delta(value=None)]).interval == pytest.approx([0.0, 2.0])
    assert mean_delta([Delta(value=1.0, interval=[0.0, 2.0]), Delta(value=3.0)]) == Delta(value=2.0)
    assert mean_delta([]) == Delta(value=None)


def test_agreement_of_folds_and_evaluation():
    entries = [
        BASELINE,
        candidate("a", (50, 44, 44), evaluation=47.0),
        candidate("b", (45, 46, 46), evaluation=46.0),
        candidate("as it stands", (99, 99, 99), kind="as_is", evaluation=99.0),
    ]
    found = agreement(entries, BUCKETS)
    assert (found.folds, found.folds_agreeing) == (3, 1)  # only the first fold alone names a
    assert (found.winner_on_folds, found.winner_on_evaluation) == ("a", "a")
    assert found.rank_correlation == pytest.approx(1.0)


def test_the_rule_is_applied_to_the_evaluation_set_too():
    entries = [BASELINE, candidate("a", (50, 50, 50), -9.0, evaluation=60.0), candidate("b", (45, 45, 45))]
    found = agreement(entries, BUCKETS)
    assert (found.winner_on_folds, found.winner_on_evaluation, found.folds_agreeing) == ("b", "b", 3)


@pytest.mark.parametrize(
    ("evaluation", "expected"),
    [
        ((1, 2, 3, 4), 1.0),
        ((4, 3, 2, 1), -1.0),
        ((1, 3, 2, 4), 0.8),
        ((1, 2, 2, 3), 3 / math.sqrt(10)),
        ((5,) * 4, None),
    ],
)
def test_rank_correlation(evaluation, expected):
    kinds = ("retrained", "trained", "trained", "trained")
    entries = [
        candidate(f"c{place}", (40 + place,), kind=kind, evaluation=float(value))
        for place, (kind, value) in enumerate(zip(kinds, evaluation, strict=True))
    ]
    found = agreement(entries, BUCKETS).rank_correlation
    assert found == (expected if expected is None else pytest.approx(expected))


def without_frequent(entry):
    """A candidate on data whose most frequent classes are "common": the differences of APf become those of APc."""

    def renamed(metrics):
        return {**{{"APf": "APc"}.get(name, name): value for name, value in metrics.items()}, "APf": None}

    def deltas(differences):
        return {**{{"APf": "APc"}.get(name, name): d for name, d in differences.items()}, "APf": Delta(value=None)}

    folds = [
        msgspec.structs.replace(one, metrics=renamed(one.metrics), differences=deltas(one.differences))
        for one in entry.folds
    ]
    metrics = {**entry.metrics, "APc": Spread(mean=60.0), "APf": Spread(mean=None)}
    return msgspec.structs.replace(entry, folds=folds, metrics=metrics, differences=deltas(entry.differences))


def test_the_most_frequent_bucket_with_an_ap_is_guarded():
    entries = [BASELINE, candidate("a", (50, 50, 50), -9.0), candidate("b", (45, 45, 45))]
    entries = [without_frequent(entry) for entry in entries]
    found = recommend(entries, BUCKETS)
    assert found.name == "b"
    assert "bucket common" in found.rule
    assert "bucket common" in found.reason
    assert "bucket frequent" not in found.rule + found.reason
    assert "a, -9.0 points" in found.reason
    agreed = agreement(entries, BUCKETS)
    assert (agreed.winner_on_folds, agreed.winner_on_evaluation, agreed.folds_agreeing) == ("b", "b", 3)


def test_without_draws_rule_and_limits_mention_no_intervals():
    found = bakeoff(draws=0)
    assert not found.has_intervals
    assert "interval" not in found.recommendation.rule
    assert "interval" in bakeoff().recommendation.rule
    assert rule_in_words(BUCKETS, has_intervals=False) == found.recommendation.rule
    limits = standing_limits("softmax", 1, has_intervals=False)
    assert not [sentence for sentence in limits if sentence.startswith("Intervals")]
    assert "TEST.RESAMPLES" in limits[-1]
    assert limits[:-1] == standing_limits("softmax", 1)[:-1]


@pytest.mark.parametrize(("on_new_images", "memorized"), [(30.0, False), (5.0, True)])
def test_a_detector_that_has_memorized_its_training_images_is_reported(on_new_images, memorized):
    baseline = candidate("softmax", (40.0, 40.0, 40.0), kind="retrained", evaluation=on_new_images)
    as_it_is = candidate("as it is", (), kind="as_is", evaluation=on_new_images + 1)
    kept = recommend([as_it_is, baseline], BUCKETS).reason
    better = recommend([as_it_is, baseline, candidate("a", (45, 45, 45))], BUCKETS).reason
    assert [("memorized" in reason) for reason in (kept, better)] == [memorized] * 2
    assert ("as it stands (6.0)" in kept) == memorized
    assert "as it stands" not in better


def test_the_choice_on_the_evaluation_set_is_among_all_candidates():
    good_on_folds = candidate("a", (60, 60, 60), evaluation=41.0)
    adjusted = candidate("tau_norm 1", (), kind="post_hoc", evaluation=43.0)
    loses = candidate("b", (40, 40, 40), frequent=-2.0, evaluation=50.0)
    found = recommend_by_evaluation([good_on_folds, BASELINE, adjusted, loses], BUCKETS)
    assert found.name == "tau_norm 1"
    assert "43.0" in found.reason
    assert "b, -2.0 points" in found.reason
    assert found.for_ap_only == "b"
    assert recommend_by_evaluation([BASELINE, good_on_folds], BUCKETS).name == "a"
    assert recommend_by_evaluation([good_on_folds, adjusted], BUCKETS).name is None
