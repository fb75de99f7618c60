"""The table of the candidates: for the terminal, and for the page."""

from __future__ import annotations

from dataclasses import dataclass

from lt_det.evaluation.bakeoff_schema import BUCKET_MEAN, Bakeoff, Delta, Entry
from lt_det.evaluation.result import percent
from lt_det.reporting.bakeoff.bars import duration
from lt_det.reporting.bakeoff.selection import KIND_NAMES, ordered
from lt_det.reporting.tables import TextTable
from lt_det.terminal import count_of, signed, span


@dataclass(frozen=True)
class Number:
    """A cell: the value, what stands beside it, and the interval below it; soft where the interval includes 0."""

    value: str
    beside: str = ""
    below: str = ""
    soft: bool = False


@dataclass(frozen=True)
class ResultRow:
    """A candidate of the page's table.

    Attributes:
        details: what it is: kind, learning rate, config keys.
        badges: "recommended", "best AP", "written", and how many seeds have been trained if not all.
    """

    name: str
    details: str
    badges: list[str]
    numbers: list[Number]


def result_columns(bakeoff: Bakeoff) -> list[str]:
    """Headings of the numbers in a `ResultRow`."""
    return [*bakeoff.shown_metrics, "against the baseline", "on the folds", "time"]


def result_rows(bakeoff: Bakeoff) -> list[ResultRow]:
    """The evaluated candidates, the best first."""
    return [_row(bakeoff, entry) for entry in ordered(bakeoff.candidates)]


def results_table(bakeoff: Bakeoff) -> TextTable:
    """AP, the buckets' AP, their mean, and the difference of this mean from the retrained baseline, as text.

    Failed candidates and those without a result yet come last.
    """
    candidates = bakeoff.candidates
    metrics = bakeoff.shown_metrics
    rows = [
        [
            entry.name if bakeoff.is_complete(entry) else f"{entry.name} (so far)",
            *(percent(entry.mean(metric)) for metric in metrics),
            _delta_in_words(entry),
            "" if not entry.seconds else duration(entry.seconds),
        ]
        for entry in ordered(candidates)
    ]
    empty = [""] * (len(metrics) - 1)
    rows += [[entry.name, "failed", *empty, "", ""] for entry in candidates if entry.failed]
    rows += [[entry.name, "...", *empty, "", ""] for entry in candidates if not entry.failed and not entry.seeds]
    names = ["mean" if metric == BUCKET_MEAN else metric for metric in metrics]
    title = f"Box AP on {bakeoff.dataset}, mean over {count_of(len(bakeoff.seeds), 'seed')}"
    return TextTable(title, ["candidate", *names, "against baseline", "time"], rows)


def describe(entry: Entry) -> str:
    """Kind, sampler, adjustment, learning rate and config keys of a candidate."""
    parts = [KIND_NAMES[entry.kind]]
    if entry.sampler != "plain":
        parts.append(f"{entry.sampler} sampling")
    if entry.oversampling:
        parts.append(entry.oversampling)
    if entry.adjustment:
        parts.append(f"{entry.adjustment[0]} {entry.adjustment[1]:g}")
    if entry.learning_rate is not None:
        parts.append(f"learning rate {entry.learning_rate:g}")
    parts += [f"{key.removeprefix('MODEL.LONG_TAIL.')} {value}" for key, value in entry.overrides.items()]
    return ", ".join(parts)


def _row(bakeoff: Bakeoff, entry: Entry) -> ResultRow:
    recommendation = bakeoff.recommendation
    badges = ["recommended"] if entry.name == recommendation.name else []
    if entry.name == recommendation.for_ap_only != recommendation.name:
        badges.append("best AP")
    if bakeoff.written and bakeoff.written.name == entry.name:
        badges.append("written")
    if entry.learning_rate is not None and len(entry.seeds) < len(bakeoff.seeds):
        badges.append(f"{len(entry.seeds)} of {count_of(len(bakeoff.seeds), 'seed')}")
    numbers = [_metric(entry, metric) for metric in bakeoff.shown_metrics]
    numbers.append(_difference(entry))
    on_folds = entry.fold_mean(BUCKET_MEAN)
    numbers.append(Number("-" if on_folds is None else percent(on_folds)))
    numbers.append(Number(duration(entry.seconds) if entry.seconds else "-"))
    return ResultRow(entry.name, describe(entry), badges, numbers)


def _metric(entry: Entry, metric: str) -> Number:
    spread, interval = entry.metrics.get(metric), entry.intervals.get(metric)
    if spread is None or spread.mean is None:
        return Number("n/a")
    beside = "" if spread.deviation is None else f"± {spread.deviation:.1f}"
    return Number(percent(spread.mean), beside, span(interval) if interval else "")


def _difference(entry: Entry) -> Number:
    if entry.kind == "retrained":
        return Number("baseline")
    delta = entry.differences.get(BUCKET_MEAN, Delta(value=None))
    if delta.interval is None:
        return Number("-" if delta.value is None else signed(delta.value))
    low, high = delta.interval
    return Number(signed(delta.value), below=f"{signed(low)} to {signed(high)}", soft=low <= 0 <= high)


def _delta_in_words(entry: Entry) -> str:
    found = _difference(entry)
    return f"{found.value} [{found.below.replace(' to ', ', ')}]" if found.below else found.value
