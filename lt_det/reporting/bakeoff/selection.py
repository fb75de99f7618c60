"""Which candidates the charts show, in which order, and how."""

from __future__ import annotations

from collections.abc import Sequence

from lt_det.evaluation.bakeoff_schema import BUCKET_MEAN, Bakeoff, Entry, Kind, seen_buckets
from lt_det.evaluation.schema import group_metric
from lt_det.reporting.bucket_style import LIGHT, Style

KIND_NAMES: dict[Kind, str] = {
    "as_is": "detector as it stands",
    "retrained": "retrained baseline",
    "trained": "trained",
    "post_hoc": "post-hoc adjustment",
    "meta": "meta-learned",
}
KIND_STYLES: dict[Kind, Style] = {
    "as_is": Style(LIGHT["k"], "X", "✖", hatch="xxx"),
    "retrained": Style(LIGHT["ink"], "s", "■", hatch="----"),
    "trained": Style(LIGHT["c2"], "o", "●"),
    "post_hoc": Style(LIGHT["c3"], "D", "◆", hatch="////"),
    "meta": Style(LIGHT["c4"], "^", "▲", hatch="||||"),
}
MAX_SHOWN = 12  # candidates in a bar chart, or named in a plane
_MAX_HIGHLIGHTED = 3


def ordered(candidates: Sequence[Entry]) -> list[Entry]:
    """The evaluated candidates by their mean over the buckets, the best first."""
    return sorted((entry for entry in candidates if entry.finished), key=lambda entry: -(_mean(entry)))


def rarest_bucket(bakeoff: Bakeoff) -> str:
    """The rarest bucket that has an AP on the evaluation set."""
    finished = [entry for entry in bakeoff.candidates if entry.finished]
    names = seen_buckets(bakeoff.buckets.names)
    known = (name for name in names if any(entry.mean(group_metric(name)) is not None for entry in finished))
    return next(known, names[0])


def pareto_front(bakeoff: Bakeoff) -> list[Entry]:
    """The candidates that no other beats in AP without losing AP on the rarest bucket; ascending by AP."""
    rare = group_metric(rarest_bucket(bakeoff))
    points = [
        (ap, rarest, entry)
        for entry in bakeoff.candidates
        if entry.finished and (ap := entry.mean("AP")) is not None and (rarest := entry.mean(rare)) is not None
    ]
    front = [
        (ap, entry)
        for ap, rarest, entry in points
        if not any((a >= ap and r >= rarest) and (a > ap or r > rarest) for a, r, _ in points)
    ]
    return [entry for _, entry in sorted(front, key=lambda point: point[0])]


def shown(bakeoff: Bakeoff, limit: int) -> list[Entry]:
    """At most `limit` evaluated candidates, the best first: those that the page speaks of, and the best others."""
    best = ordered(bakeoff.candidates)
    recommendation = bakeoff.recommendation
    named = (recommendation.name, recommendation.for_ap_only)
    first = [entry for entry in best if entry.name in named or entry.kind in ("as_is", "retrained")]
    others = [entry for entry in best if entry not in first]
    kept = {entry.name for entry in (first + others)[:limit]}
    return [entry for entry in best if entry.name in kept]


def highlighted(bakeoff: Bakeoff) -> list[Entry]:
    """The candidates whose classes are shown one by one: the recommended ones, then the Pareto front."""
    recommendation = bakeoff.recommendation
    front = [entry.name for entry in reversed(pareto_front(bakeoff))]
    names = dict.fromkeys(name for name in (recommendation.name, recommendation.for_ap_only, *front) if name)
    entries = [bakeoff.entry(name) for name in names]
    return [entry for entry in entries if entry.finished and entry.kind != "retrained"][:_MAX_HIGHLIGHTED]


def _mean(entry: Entry) -> float:
    value = entry.mean(BUCKET_MEAN)
    return -1.0 if value is None else value
