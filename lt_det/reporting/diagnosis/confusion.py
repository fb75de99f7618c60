"""Who takes whose place: confusion between rare and frequent classes."""

from __future__ import annotations

from typing import Any

from matplotlib.patches import Patch

from lt_det.evaluation.diagnosis_schema import ConfusedPair, Confusion, Diagnosis, Stage
from lt_det.reporting.bucket_style import LIGHT, NO_BUCKET, bucket_styles
from lt_det.reporting.charts.base import COLUMN, PLAIN, SMALL_TEXT, Chart, Panel, new_axes, shorten
from lt_det.reporting.diagnosis.finding import UNKNOWN, Finding
from lt_det.reporting.diagnosis.groups import percentage
from lt_det.reporting.tables import TextTable
from lt_det.terminal import count_of

_ROW = 46
_SHOWN = 12  # pairs


def confusion(diagnosis: Diagnosis, stage: Stage) -> Finding | None:
    """None without test RoIs."""
    found = stage.confusion
    if found is None or not any(found.groups.values()):
        return None
    chart = Chart(
        "Who takes whose place",
        (_bars(diagnosis, found),),
        "Test RoIs that match an object, by the class that scores highest of all classes, background left aside: means "
        "over the classes of a bucket. Background competes, too: below a bar is the fraction of RoIs that are "
        "classified as background.",
    )
    return Finding(chart, _sentence(diagnosis, found), _table(diagnosis, found.pairs[:_SHOWN]))


def _bars(diagnosis: Diagnosis, found: Confusion) -> Panel:
    groups = [(name, group) for name, group in found.groups.items() if group is not None]
    styles = bucket_styles(diagnosis.buckets.names)
    looks: dict[str, dict[str, Any]] = {"right class": {"facecolor": LIGHT["grid"], "edgecolor": LIGHT["soft"]}}
    for name, _ in groups:
        style = styles.get(name, NO_BUCKET)
        looks[f"another {name} class"] = {"facecolor": style.color, "hatch": style.hatch, "edgecolor": LIGHT["paper"]}
    legend = [(shorten(label, 30), Patch(linewidth=0.5, **look)) for label, look in looks.items()]
    figure, axes = new_axes(COLUMN, _ROW * len(groups), legend, left=100, right=20)
    for row, (name, group) in enumerate(groups):
        place: dict[str, Any] = {
            "xycoords": ("axes fraction", "data"), "textcoords": "offset points", "annotation_clip": False,
        }  # fmt: skip
        axes.annotate(shorten(name, 13), (0, row), (-8, 1), ha="right", va="bottom", **place)
        axes.annotate(
            count_of(group.classes, "class"), (0, row), (-8, -2), ha="right", va="top", color=LIGHT["soft"],
            fontsize=SMALL_TEXT, **place,
        )  # fmt: skip
        start = 0.0
        parts = {"right class": group.correct}
        parts |= {f"another {other} class": group.taken_by.get(other, 0.0) for other, _ in groups}
        for label, fraction in parts.items():
            axes.barh(row - 0.08, 100 * fraction, 0.42, left=start, linewidth=0.5, **looks[label])
            start += 100 * fraction
        words = f"{percentage(group.background)} as background"
        axes.annotate(words, (0, row + 0.14), (2, -1), va="top", color=LIGHT["soft"], fontsize=SMALL_TEXT, **place)
    axes.set_xlim(0, 100)
    axes.set_ylim(len(groups) - 0.5, -0.5)
    axes.set_yticks([])
    axes.grid(axis="y", visible=False)
    axes.xaxis.set_major_formatter(PLAIN)
    axes.set_xlabel("% of the test RoIs of a class")
    axes.spines[["left", "bottom"]].set_visible(False)
    return Panel("confusion", "What the test RoIs of each bucket are classified as", figure)


def _table(diagnosis: Diagnosis, pairs: list[ConfusedPair]) -> TextTable | None:
    if not pairs:
        return None
    rows = []
    for pair in pairs:
        true, predicted = diagnosis.classes[pair.true], diagnosis.classes[pair.predicted]
        rows.append(
            [
                f"{true.name} ({true.bucket or 'no bucket'})",
                f"{predicted.name} ({predicted.bucket or 'no bucket'})",
                percentage(pair.fraction),
                "n/a" if pair.reverse is None else percentage(pair.reverse),
                f"{pair.rois} in {count_of(pair.images, 'image')}",
            ]
        )
    columns = ["class", "taken for", "of its RoIs", "the reverse", "RoIs"]
    return TextTable("Most one-sided pairs of classes of different buckets", columns, rows)


def _sentence(diagnosis: Diagnosis, found: Confusion) -> str:
    known = [(name, group) for name in diagnosis.buckets.names if (group := found.groups.get(name)) is not None]
    if len(known) < 2:
        return UNKNOWN
    (tail, of_tail), (head, of_head) = known[0], known[-1]
    taken, reverse = of_tail.taken_by.get(head, 0.0), of_head.taken_by.get(tail, 0.0)
    sentence = (
        f"A {tail} class loses {percentage(taken)} of its RoIs to {head} classes, and a {head} class "
        f"{percentage(reverse)} to {tail} ones"
    )
    if found.pairs:
        first = found.pairs[0]
        true, predicted = (diagnosis.classes[k].name for k in (first.true, first.predicted))
        back = "" if first.reverse is None else f", the reverse in {percentage(first.reverse)}"
        sentence += f"; '{true}' is taken for '{predicted}' in {percentage(first.fraction)} of its RoIs{back}"
    return f"{sentence}."
