"""Candidates as points: AP against AP of the rarest bucket, and held-out folds against the evaluation set."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from lt_det.evaluation.bakeoff_schema import BUCKET_MEAN, Bakeoff, Entry
from lt_det.evaluation.result import percent
from lt_det.evaluation.schema import group_metric
from lt_det.reporting.bakeoff.selection import KIND_NAMES, KIND_STYLES, MAX_SHOWN, pareto_front, rarest_bucket, shown
from lt_det.reporting.bucket_style import LIGHT
from lt_det.reporting.charts.base import COLUMN, PLAIN, Chart, Panel, new_axes
from lt_det.reporting.charts.point_labels import label_points
from lt_det.terminal import decimals

_HEIGHT = 330
_MIN_REACH = 2.0  # points of AP that an axis reaches beyond the middle at least

_Point = tuple[float, float, Entry]


def pareto_plane(bakeoff: Bakeoff) -> Chart | None:
    """None where no candidate has both metrics, or no bucket is shown."""
    if not bakeoff.shown_buckets:
        return None
    bucket = rarest_bucket(bakeoff)
    rare = group_metric(bucket)
    points = [
        (x, y, entry)
        for entry in bakeoff.candidates
        if entry.finished and (x := entry.mean("AP")) is not None and (y := entry.mean(rare)) is not None
    ]
    if not points:
        return None
    front = pareto_front(bakeoff)
    known = {entry.name: (x, y) for x, y, entry in points}
    path = [known[entry.name] for entry in front]
    line = Line2D([], [], color=LIGHT["c0"], linestyle=(0, (4, 2)), linewidth=1.5)
    labels = [f"{entry.name}: AP {percent(x)}, {rare} {percent(y)}" for x, y, entry in points]
    first = [bakeoff.recommendation.name, *(entry.name for entry in front)]
    panel = _plane(
        bakeoff, points, labels, "plane", f"AP against {rare} of the candidates", ("AP", rare), first,
        [("Pareto front", line)] if len(path) > 1 else [], path,
    )  # fmt: skip
    names = "; ".join(entry.name for entry in front)
    of_front = (
        f"The Pareto front is {names} alone: no candidate has a higher AP or a higher {rare}."
        if len(front) == 1
        else f"The dashed line joins the Pareto front: {names}. No candidate is better than one of these in both."
    )
    spread = any(entry.metrics["AP"].deviation is not None for entry in front)
    whiskers = ", as the mean over its seeds; whiskers are the standard deviation over the seeds" if spread else ""
    return Chart(
        f"AP and the bucket {bucket}",
        (panel,),
        f"Each point is a candidate on the evaluation set{whiskers}. {of_front}",
        terms=(("ring", "the recommended candidate"),) if bakeoff.recommendation.name in known else (),
    )


def agreement_plane(bakeoff: Bakeoff) -> Chart | None:
    """None unless at least two candidates have folds and an evaluation."""
    found = bakeoff.agreement
    points = [
        (x, y, entry)
        for entry in bakeoff.candidates
        if entry.finished
        and (x := entry.fold_mean(BUCKET_MEAN)) is not None
        and (y := entry.mean(BUCKET_MEAN)) is not None
    ]
    if found is None or len(points) < 2:
        return None
    labels = [f"{entry.name}: {percent(x)} on the folds, {percent(y)} on the evaluation set" for x, y, entry in points]
    baseline = bakeoff.baseline
    first = [found.winner_on_folds, found.winner_on_evaluation, baseline.name if baseline else None]
    panel = _plane(
        bakeoff, points, labels, "agreement", "Held-out folds against the evaluation set",
        ("mean over the buckets, held-out folds", "evaluation set"), first,
    )  # fmt: skip
    same = found.winner_on_folds == found.winner_on_evaluation
    winners = (
        f"The folds and the evaluation set name the same candidate by the rule: {found.winner_on_folds}."
        if same
        else f"By the rule the folds name {found.winner_on_folds} and the evaluation set {found.winner_on_evaluation}."
    )
    alone = (
        f" Taken alone, {found.folds_agreeing} of the {found.folds} folds "
        f"{'names' if found.folds_agreeing == 1 else 'name'} the candidate that the evaluation set names."
    )
    rank = (
        ""
        if found.rank_correlation is None
        else f" The rank correlation (Spearman) of the {len(points)} candidates is "
        f"{decimals(found.rank_correlation, 2)}."
    )
    return Chart("Held-out folds and evaluation set", (panel,), winners + alone + rank)


def _plane(
    bakeoff: Bakeoff,
    points: Sequence[_Point],
    labels: Sequence[str],
    name: str,
    alt: str,
    titles: tuple[str, str],
    first: Sequence[str | None],
    legend: Sequence[tuple[str, Line2D]] = (),
    path: Sequence[tuple[float, float]] = (),
) -> Panel:
    """Points with the marker of their kind; a ring around the recommended one; the names in `first` come first."""
    kinds = [kind for kind in KIND_NAMES if any(entry.kind == kind for _, _, entry in points)]
    markers = [
        (
            KIND_NAMES[kind],
            Line2D([], [], linestyle="none", marker=KIND_STYLES[kind].marker, color=KIND_STYLES[kind].color),
        )
        for kind in kinds
    ]
    figure, axes = new_axes(COLUMN, _HEIGHT, [*markers, *legend], left=56, right=14)
    spread = titles[0] == "AP"
    for index, (x, y, entry) in enumerate(points):
        style = KIND_STYLES[entry.kind]
        if spread:
            _draw_spread(axes, x, y, entry, titles, style.color)
        drawn = axes.scatter([x], [y], s=60, marker=style.marker, color=style.color, edgecolor=LIGHT["paper"], zorder=4)
        drawn.set_urls([f"point-{index}"])
        if entry.name == bakeoff.recommendation.name:
            axes.plot([x], [y], "o", markersize=15, markerfacecolor="none", markeredgecolor=LIGHT["ink"], zorder=5)
    if len(path) > 1:
        axes.plot(*zip(*path, strict=True), color=LIGHT["c0"], linestyle=(0, (4, 2)), linewidth=1.5, zorder=2)
    axes.set_xlim(*_limits([x for x, _, _ in points]))
    axes.set_ylim(*_limits([y for _, y, _ in points]))
    axes.set(xlabel=titles[0], ylabel=titles[1])
    axes.xaxis.set_major_formatter(PLAIN)
    axes.yaxis.set_major_formatter(PLAIN)
    names = dict.fromkeys([*first, *(entry.name for entry in shown(bakeoff, MAX_SHOWN))])
    ranks = {name: rank for rank, name in enumerate(names)}
    named = sorted((point for point in points if point[2].name in ranks), key=lambda point: ranks[point[2].name])
    rings = {entry.name: 8 for _, _, entry in points if entry.name == bakeoff.recommendation.name}
    label_points(
        axes,
        [(x, y, entry.name) for x, y, entry in named],
        [(x, y, rings.get(entry.name, 5)) for x, y, entry in points],
    )
    return Panel(name, alt, figure, tuple(labels))


def _draw_spread(axes: Axes, x: float, y: float, entry: Entry, titles: tuple[str, str], color: str) -> None:
    deviations = [entry.metrics[title].deviation for title in titles]
    if None not in deviations:
        axes.errorbar(
            x, y, xerr=deviations[0], yerr=deviations[1], fmt="none", ecolor=color, elinewidth=1, alpha=0.6, zorder=3
        )


def _limits(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    reach = max(_MIN_REACH, (high - low) * 0.58)
    return (low + high) / 2 - reach, (low + high) / 2 + reach
