"""``bakeoff.html``: what the bake-off found, in words, tables and charts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lt_det.evaluation.bakeoff_schema import Bakeoff, Entry
from lt_det.evaluation.diagnosis_schema import Diagnosis
from lt_det.evaluation.result import percent
from lt_det.io.atomic import write_atomically, writing_to
from lt_det.reporting.bakeoff.bars import bucket_bars, cost_bars
from lt_det.reporting.bakeoff.class_gains import ClassGains, class_gains, gains_table
from lt_det.reporting.bakeoff.learning_curves import learning_curves
from lt_det.reporting.bakeoff.planes import agreement_plane, pareto_plane
from lt_det.reporting.bakeoff.results import ResultRow, result_columns, result_rows
from lt_det.reporting.charts.base import Chart, chart_style
from lt_det.reporting.diagnosis.page import DiagnosisSection, diagnosis_sections
from lt_det.reporting.html import render_page
from lt_det.reporting.view_model import ClassTable, bucket_advice, evaluation_facts
from lt_det.terminal import count_of, signed

PAGE_NAME = "bakeoff.html"


@dataclass(frozen=True)
class _Headline:
    """A metric, its difference from the retrained baseline, and the interval of this difference; empty if not known."""

    name: str
    value: str
    difference: str
    interval: str


@dataclass(frozen=True)
class _View:
    """What the template lays out.

    Attributes:
        headlines: the recommended candidate's metrics on the evaluation set, and their differences.
        advice: which buckets divide the classes, where those of the bake-off do not; else empty.
        state: what an unfinished bake-off lacks; empty if it is finished.
        failed: name and reason of each failed candidate.
        plane: the chart before the table of the candidates; `charts`: those after it.
    """

    facts: list[str]
    headlines: list[_Headline]
    advice: str
    state: str
    columns: list[str]
    rows: list[ResultRow]
    failed: list[tuple[str, str]]
    plane: Chart | None
    charts: list[Chart]
    gains: list[ClassGains]
    classes: ClassTable | None
    diagnosis: list[DiagnosisSection]


def write_bakeoff_page(bakeoff: Bakeoff, folder: Path, diagnosis: Diagnosis | None = None) -> Path:
    """Write ``bakeoff.html`` atomically.

    Args:
        bakeoff: finished or not.
        folder: that holds ``bakeoff.json``.
        diagnosis: of the same detector, for a section of its own.

    Returns:
        Path of the page.

    Raises:
        LtDetError: the folder cannot be written.
    """
    file = folder / PAGE_NAME
    page = render_page(PAGE_NAME, bakeoff=bakeoff, view=_view(bakeoff, diagnosis))
    with writing_to(folder, "The page of the bake-off"):
        write_atomically(file, page)
    return file


def _view(bakeoff: Bakeoff, diagnosis: Diagnosis | None) -> _View:
    with chart_style():
        charts = (draw(bakeoff) for draw in (bucket_bars, agreement_plane, learning_curves, cost_bars))
        return _View(
            facts=_facts(bakeoff),
            headlines=_headlines(bakeoff),
            advice=bucket_advice(bakeoff),
            state=_state(bakeoff),
            columns=result_columns(bakeoff),
            rows=result_rows(bakeoff),
            failed=[(entry.name, entry.failed) for entry in bakeoff.candidates if entry.failed],
            plane=pareto_plane(bakeoff),
            charts=[chart for chart in charts if chart],
            gains=class_gains(bakeoff),
            classes=gains_table(bakeoff),
            diagnosis=diagnosis_sections(diagnosis) if diagnosis else [],
        )


def _facts(bakeoff: Bakeoff) -> list[str]:
    facts = [f"detector trained with {bakeoff.detector.loss}", *evaluation_facts(bakeoff)]
    if bakeoff.rois is not None:
        images = f" of {count_of(bakeoff.training_images, 'training image')}" if bakeoff.training_images else ""
        facts.append(f"{bakeoff.rois:,} RoIs{images}")
    if bakeoff.steps and bakeoff.batch_size:
        facts.append(f"{count_of(bakeoff.steps, 'step')} of {count_of(bakeoff.batch_size, 'RoI')}")
    if bakeoff.seeds:
        facts.append(count_of(len(bakeoff.seeds), "seed"))
    if bakeoff.num_folds:
        facts.append(count_of(bakeoff.num_folds, "fold"))
    return facts


def _headlines(bakeoff: Bakeoff) -> list[_Headline]:
    name = bakeoff.recommendation.name
    entry = bakeoff.entry(name) if name else None
    if entry is None or not entry.finished:
        return []
    return [_headline(entry, metric) for metric in bakeoff.shown_metrics if entry.mean(metric) is not None]


def _headline(entry: Entry, metric: str) -> _Headline:
    delta = entry.differences.get(metric)
    known = entry.kind != "retrained" and delta is not None and delta.value is not None
    interval = delta.interval if known and delta else None
    return _Headline(
        metric,
        percent(entry.mean(metric)),
        signed(delta.value) if known and delta else "",
        " to ".join(map(signed, interval)) if interval else "",
    )


def _state(bakeoff: Bakeoff) -> str:
    if not bakeoff.unfinished:
        return ""
    done = sum(entry.finished for entry in bakeoff.candidates)
    waiting = [entry.name for entry in bakeoff.candidates if not entry.finished and not entry.failed]
    names = f" Not evaluated yet: {', '.join(waiting)}." if waiting else ""
    return (
        f"Unfinished: {done} of {count_of(len(bakeoff.candidates), 'candidate')} have been evaluated.{names} The same "
        "command goes on from here."
    )
