"""The recommendation: a stated rule, on the held-out folds of the training images or on the evaluation set.

On the folds, the detector as it stands and its post-hoc adjustments take no part: their classifier was trained on the
held-out images, so that its AP there means nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lt_det.evaluation.bakeoff_schema import (
    BUCKET_MEAN,
    Agreement,
    Delta,
    Entry,
    FoldResult,
    Recommendation,
    seen_buckets,
)
from lt_det.evaluation.schema import group_metric
from lt_det.terminal import signed, signed_interval

_CHOOSABLE = ("retrained", "trained", "meta")
_NAMED = 3  # candidates that are named as ruled out
_MEMORIZED = 2.0  # times as high an AP on the detector's training images as on new ones: see `_memorized`


@dataclass(frozen=True)
class _Score:
    """What the rule looks at: `frequent` is the difference of `_frequent_bucket` from the baseline."""

    name: str
    buckets: float
    ap: float
    frequent: Delta

    @property
    def allowed(self) -> bool:
        """Whether the frequent classes are not below the baseline's by more than the interval."""
        ends = self.frequent.interval
        value = ends[1] if ends else self.frequent.value
        return value is None or value >= 0


def recommend(candidates: Sequence[Entry], buckets: Sequence[str]) -> Recommendation:
    """Choose among the candidates that were evaluated on the same folds as the retrained baseline.

    Args:
        candidates: with their folds; the differences in these are from the retrained baseline.
        buckets: names of the buckets, from rare to frequent.
    """
    baseline = _baseline(candidates)
    frequent = _frequent_bucket([fold.metrics for fold in baseline.folds] if baseline else [], buckets)
    rule = rule_in_words(buckets, frequent, has_intervals=_has_intervals(candidates))
    if baseline is None:
        reason = "There is no recommendation: the retrained baseline has not been evaluated on the held-out folds."
        return Recommendation(rule=rule, name=None, reason=reason)
    entries = _comparable(candidates, baseline)
    scores = _fold_scores(entries, buckets)
    if not scores:
        reason = "There is no recommendation: no bucket has an AP on the held-out folds."
        return Recommendation(rule=rule, name=None, reason=reason)
    best = _winner(scores)
    by_ap = max(scores, key=lambda score: score.ap)
    by_name = {entry.name: entry for entry in entries}
    return Recommendation(
        rule=rule,
        name=best.name,
        reason=" ".join(
            [*_reasons(best, scores, by_name, baseline, frequent), *_memorized(best, baseline, candidates)]
        ),
        for_ap_only=by_ap.name,
        for_ap_only_reason=_ap_reason(by_ap, best, by_name[by_ap.name], baseline),
    )


def recommend_by_evaluation(candidates: Sequence[Entry], buckets: Sequence[str]) -> Recommendation:
    """Apply the rule to the evaluation set, among all candidates that were evaluated on it.

    Args:
        candidates, buckets: see `recommend`.
    """
    entries = [entry for entry in candidates if entry.finished]
    baseline = next((entry for entry in entries if entry.kind == "retrained"), None)
    means = {name: spread.mean for name, spread in baseline.metrics.items()} if baseline else {}
    frequent = _frequent_bucket([means], buckets)
    margin = " by more than the paired 95 % interval" if _has_intervals(candidates) else ""
    rule = (
        f"On the evaluation set: among all candidates whose AP on the bucket {frequent} is not below that of the "
        f"retrained baseline{margin}, the one with the best mean over the buckets."
    )
    if baseline is None:
        reason = "There is no recommendation: the retrained baseline has not been evaluated."
        return Recommendation(rule=rule, name=None, reason=reason)
    by_name = {entry.name: entry for entry in entries}
    scores = _evaluation_scores([baseline, *(entry for entry in entries if entry is not baseline)], buckets)
    if not scores:
        return Recommendation(rule=rule, name=None, reason="There is no recommendation: no bucket has an AP.")
    best = _winner(scores)
    by_ap = max(scores, key=lambda score: score.ap)
    among, ruled_out = _ruled_out(best, scores, frequent)
    against = ""
    if best.name != baseline.name:
        delta = by_name[best.name].differences.get(BUCKET_MEAN, Delta(value=None))
        against = f": {_in_words(delta)} against the retrained baseline"
    words = [
        f"On the evaluation set, {best.name} has the best mean over the buckets{among}, {best.buckets:.1f}{against}.",
        *ruled_out,
        "It was chosen by these numbers, so they are too good: evaluate it on images that took no part in the choice.",
    ]
    return Recommendation(
        rule=rule,
        name=best.name,
        reason=" ".join(words),
        for_ap_only=by_ap.name,
        for_ap_only_reason=(
            f"If only AP over all classes matters, {by_ap.name} is best with {by_ap.ap:.1f}."
            if by_ap.name != best.name
            else f"It also has the best AP over all classes, {by_ap.ap:.1f}."
        ),
    )


def agreement(candidates: Sequence[Entry], buckets: Sequence[str]) -> Agreement | None:
    """How often the folds, each alone, name the candidate that the rule names on the evaluation set.

    Returns:
        None unless at least two candidates, one of them the baseline, have both folds and an evaluation.
    """
    baseline = _baseline(candidates)
    if baseline is None or not baseline.finished:
        return None
    entries = [entry for entry in _comparable(candidates, baseline) if entry.finished]
    on_folds = _fold_scores(entries, buckets)
    on_evaluation = _evaluation_scores(entries, buckets)
    if min(len(on_folds), len(on_evaluation)) < 2:
        return None
    expected = _winner(on_evaluation).name
    alone = [_fold_scores(entries, buckets, [fold.fold]) for fold in baseline.folds]
    values = {score.name: score.buckets for score in on_evaluation}
    pairs = [(score.buckets, values[score.name]) for score in on_folds if score.name in values]
    return Agreement(
        folds=sum(bool(scores) for scores in alone),
        folds_agreeing=sum(_winner(scores).name == expected for scores in alone if scores),
        winner_on_folds=_winner(on_folds).name,
        winner_on_evaluation=expected,
        rank_correlation=_spearman(pairs),
    )


def rule_in_words(buckets: Sequence[str], frequent: str | None = None, *, has_intervals: bool = True) -> str:
    """The rule for these buckets, as the page states it.

    Args:
        buckets: names of the buckets, from rare to frequent.
        frequent: the bucket on which a candidate may not lose; None for the last one.
        has_intervals: whether there are bootstrap draws (TEST.RESAMPLES).
    """
    seen = seen_buckets(buckets)
    frequent = frequent or seen[-1]
    if len(seen) == 1:
        return (
            f"On held-out folds of the training images, the best AP of the only bucket, {seen[0]}. The evaluation set "
            "takes no part in the choice."
        )
    which = "" if frequent == seen[-1] else " (the most frequent one with an AP there)"
    margin = " by more than the paired 95 % interval" if has_intervals else ""
    return (
        f"On held-out folds of the training images: among the candidates whose AP on the bucket {frequent}{which} is "
        f"not below that of the retrained baseline{margin}, the one with the best mean over the buckets. The "
        "evaluation set takes no part in the choice. Neither do the detector as it stands and its post-hoc "
        "adjustments, whose classifier was trained on the held-out images."
    )


def mean_delta(deltas: Sequence[Delta]) -> Delta:
    """The mean difference over folds; folds have different images, so their intervals add up as independent errors."""
    known = [(delta.value, delta.interval) for delta in deltas if delta.value is not None]
    if not known:
        return Delta(value=None)
    value = sum(number for number, _ in known) / len(known)
    ends = [(number - interval[0], interval[1] - number) for number, interval in known if interval]
    if len(ends) < len(known):
        return Delta(value=value)
    below, above = (math.hypot(*(widths[side] for widths in ends)) / len(ends) for side in (0, 1))
    return Delta(value=value, interval=[value - below, value + above])


def _baseline(candidates: Sequence[Entry]) -> Entry | None:
    found = (entry for entry in candidates if entry.kind == "retrained" and entry.folds and not entry.failed)
    return next(found, None)


def _has_intervals(candidates: Sequence[Entry]) -> bool:
    """Whether there are bootstrap draws; True as long as nothing has been evaluated."""
    evaluated = [entry for entry in candidates if entry.seeds or entry.folds]
    return not evaluated or any(
        any(entry.intervals.values())
        or any(delta.interval for fold in entry.folds for delta in fold.differences.values())
        for entry in evaluated
    )


def _frequent_bucket(metrics: Sequence[Mapping[str, float | None]], buckets: Sequence[str]) -> str:
    """The most frequent bucket that has an AP of the baseline; the last one if none has."""
    seen = seen_buckets(buckets)
    known = [name for name in seen if any(one.get(group_metric(name)) is not None for one in metrics)]
    return (known or seen)[-1]


def _comparable(candidates: Sequence[Entry], baseline: Entry) -> list[Entry]:
    """The candidates that were trained and evaluated on all folds of the baseline; the baseline comes first."""
    folds = {fold.fold for fold in baseline.folds}
    others = [
        entry
        for entry in candidates
        if entry is not baseline
        and entry.kind in _CHOOSABLE
        and not entry.failed
        and {fold.fold for fold in entry.folds} == folds
    ]
    return [baseline, *others]


def _fold_scores(entries: Sequence[Entry], buckets: Sequence[str], only: Sequence[int] | None = None) -> list[_Score]:
    """The scores on all folds, or some; the baseline is the first of the entries."""
    of_entries = [[fold for fold in entry.folds if only is None or fold.fold in only] for entry in entries]
    frequent = group_metric(_frequent_bucket([fold.metrics for fold in of_entries[0]], buckets))
    scores = []
    for entry, folds in zip(entries, of_entries, strict=True):
        mean, ap = _mean_over(folds, BUCKET_MEAN), _mean_over(folds, "AP")
        if mean is not None and ap is not None:
            delta = mean_delta([fold.differences[frequent] for fold in folds if frequent in fold.differences])
            scores.append(_Score(entry.name, mean, ap, delta))
    return scores


def _evaluation_scores(entries: Sequence[Entry], buckets: Sequence[str]) -> list[_Score]:
    """The scores on the evaluation set; the baseline is the first of the entries."""
    means = {name: spread.mean for name, spread in entries[0].metrics.items()}
    frequent = group_metric(_frequent_bucket([means], buckets))
    scores = []
    for entry in entries:
        mean, ap = entry.mean(BUCKET_MEAN), entry.mean("AP")
        if mean is not None and ap is not None:
            scores.append(_Score(entry.name, mean, ap, entry.differences.get(frequent, Delta(value=None))))
    return scores


def _winner(scores: Sequence[_Score]) -> _Score:
    """The first of equals, so that the baseline, which is always allowed, wins a tie."""
    return max((score for score in scores if score.allowed), key=lambda score: score.buckets)


def _mean_over(folds: Sequence[FoldResult], metric: str) -> float | None:
    known = [value for fold in folds if (value := fold.metrics.get(metric)) is not None]
    return sum(known) / len(known) if known else None


def _reasons(
    best: _Score, scores: Sequence[_Score], entries: dict[str, Entry], baseline: Entry, frequent: str
) -> list[str]:
    among, ruled_out = _ruled_out(best, scores, frequent)
    if best.name == baseline.name:
        words = [
            f"No candidate{among} has a better mean over the buckets than the retrained baseline ({best.buckets:.1f}): "
            "keep the loss."
        ]
    else:
        gain = _fold_delta(entries[best.name], BUCKET_MEAN)
        reading = ""
        if gain.interval and gain.interval[0] <= 0:
            reading = " The interval includes 0, so on these folds either may be the better one."
        words = [
            f"On held-out training images, {best.name} has the best mean over the buckets{among}, {best.buckets:.1f}: "
            f"{_in_words(gain)} against the retrained baseline.{reading} On the bucket {frequent} the difference is "
            f"{_in_words(best.frequent)}."
        ]
        words += _on_evaluation_set(entries[best.name])
    words += ruled_out
    if any(score.frequent.value is not None and score.frequent.interval is None for score in scores):
        words.append(f"The folds have no intervals, so any loss on the bucket {frequent} rules a candidate out.")
    others = [score for score in scores if score.allowed and score.name not in (best.name, baseline.name)]
    if others and best.name != baseline.name:
        second = max(others, key=lambda score: score.buckets)
        ahead = sum(
            one > other
            for one, other in zip(
                _by_fold(entries[second.name], BUCKET_MEAN), _by_fold(entries[best.name], BUCKET_MEAN), strict=True
            )
        )
        words.append(
            f"Next is {second.name}, {best.buckets - second.buckets:.1f} points below; it is better on {ahead} of "
            f"{len(baseline.folds)} folds."
        )
    return words


def _ruled_out(best: _Score, scores: Sequence[_Score], frequent: str) -> tuple[str, list[str]]:
    """Among which candidates the best one is best, and a sentence on those that are better but lose on a bucket."""
    higher = sorted((s for s in scores if not s.allowed and s.buckets > best.buckets), key=lambda s: -s.buckets)
    if not higher:
        return "", []
    names = "; ".join(f"{score.name}, {_in_words(score.frequent)}" for score in higher[:_NAMED])
    more = f"; and {len(higher) - _NAMED} more" if len(higher) > _NAMED else ""
    sentence = f"Ruled out although their mean is better, because they lose on that bucket: {names}{more}."
    return f" of those that do not lose on the bucket {frequent}", [sentence]


def _on_evaluation_set(entry: Entry) -> list[str]:
    """What a reader compares the held-out images with; it takes no part in the choice."""
    delta = entry.differences.get(BUCKET_MEAN)
    if delta is None or delta.value is None:
        return []
    unclear = delta.interval is not None and delta.interval[0] <= 0 <= delta.interval[1]
    reading = ", an interval that includes 0" if unclear else ""
    return [f"On the evaluation set, the difference of this mean is {_in_words(delta)}{reading}."]


def _memorized(best: _Score, baseline: Entry, candidates: Sequence[Entry]) -> list[str]:
    """Warn if the features know the held-out images so well that the choice says little about other images."""
    folds, new = baseline.fold_mean(BUCKET_MEAN), baseline.mean(BUCKET_MEAN)
    if folds is None or new is None or folds <= _MEMORIZED * new:
        return []
    words = [
        "But the detector has memorized its training images: with the same loss, this mean is "
        f"{folds:.1f} on the held-out ones and {new:.1f} on the evaluation set. So this choice says little about new "
        "images: choose by the evaluation set (--choose-on evaluation), and report the result on images that took no "
        "part in that."
    ]
    as_it_is = next((entry.mean(BUCKET_MEAN) for entry in candidates if entry.kind == "as_is"), None)
    if best.name == baseline.name and as_it_is is not None and as_it_is > new:
        words.append(f"There, the detector as it stands ({as_it_is:.1f}) is better than retrained.")
    return words


def _ap_reason(by_ap: _Score, best: _Score, entry: Entry, baseline: Entry) -> str:
    if by_ap.name == best.name:
        return f"It also has the best AP over all classes on the folds, {by_ap.ap:.1f}."
    against = (
        "" if by_ap.name == baseline.name else f": {_in_words(_fold_delta(entry, 'AP'))} against the retrained baseline"
    )
    return (
        f"If only AP over all classes matters, {by_ap.name} is best on the folds with {by_ap.ap:.1f}{against} "
        f"({best.name}: {best.ap:.1f})."
    )


def _fold_delta(entry: Entry, metric: str) -> Delta:
    return mean_delta([fold.differences[metric] for fold in entry.folds if metric in fold.differences])


def _by_fold(entry: Entry, metric: str) -> list[float]:
    values = [fold.metrics.get(metric) for fold in sorted(entry.folds, key=lambda fold: fold.fold)]
    return [-math.inf if value is None else value for value in values]


def _in_words(delta: Delta) -> str:
    if delta.value is None:
        return "n/a"
    words = f"{signed(delta.value)} points"
    return words + (f" {signed_interval(delta.interval)}" if delta.interval else "")


def _spearman(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Rank correlation with mean ranks of equals; None for fewer than three pairs or without variation."""
    if len(pairs) < 3:
        return None
    first, second = (_ranks(np.array(values)) for values in zip(*pairs, strict=True))
    if first.std() == 0 or second.std() == 0:
        return None
    return float(np.corrcoef(first, second)[0, 1])


def _ranks(values: np.ndarray) -> np.ndarray:
    _, inverse, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    ranks: np.ndarray = (last - (count - 1) / 2)[inverse]
    return ranks
