"""The page of a diagnosis: each chart with one sentence on what it means for this detector."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from lt_det.evaluation.diagnosis_schema import Diagnosis, Stage, write_diagnosis
from lt_det.io.atomic import write_atomically, writing_to
from lt_det.reporting.charts.base import chart_style
from lt_det.reporting.diagnosis.confusion import confusion
from lt_det.reporting.diagnosis.deviation import decision_values, deviation_of_features
from lt_det.reporting.diagnosis.finding import Finding
from lt_det.reporting.diagnosis.gradients import gradient_norms, gradient_ratio
from lt_det.reporting.diagnosis.influence import influence
from lt_det.reporting.diagnosis.margins import margins
from lt_det.reporting.diagnosis.weights import effective_number, weight_norms
from lt_det.reporting.html import render_page
from lt_det.terminal import count_of

PAGE_NAME = "diagnosis.html"

_STAGE_CHARTS = (
    gradient_norms,
    gradient_ratio,
    influence,
    decision_values,
    deviation_of_features,
    weight_norms,
    margins,
    confusion,
)


@dataclass(frozen=True)
class DiagnosisSection:
    """A part of the page: the charts of one stage, or of the training set.

    Attributes:
        key: unique on the page.
    """

    key: str
    title: str
    facts: list[str]
    findings: list[Finding]


def diagnosis_sections(diagnosis: Diagnosis, key: str = "diagnosis") -> list[DiagnosisSection]:
    """What a page shows of a diagnosis; `key` begins the ids on the page."""
    sections = []
    with chart_style():
        for index, stage in enumerate(diagnosis.stages):
            title = "Detector" if len(diagnosis.stages) == 1 else f"Stage {index + 1} of {len(diagnosis.stages)}"
            findings = [finding for draw in _STAGE_CHARTS if (finding := draw(diagnosis, stage)) is not None]
            sections.append(DiagnosisSection(f"{key}_{index}", title, _facts(diagnosis, stage), findings))
        counts = DiagnosisSection(f"{key}_counts", "Training counts", [], [effective_number(diagnosis)])
        sections.append(counts)
    return sections


def write_diagnosis_page(diagnosis: Diagnosis, folder: Path, console: Console | None = None) -> Path:
    """Print what each chart means, and write ``diagnosis.json`` and ``diagnosis.html``, a single file.

    Args:
        diagnosis: of the detector.
        folder: created if it does not exist.
        console: where the sentences are printed; None: nowhere.

    Returns:
        Path of the page.

    Raises:
        LtDetError: the folder cannot be written.
    """
    write_diagnosis(diagnosis, folder)
    page = folder / PAGE_NAME
    name = Path(diagnosis.checkpoint).parent.name or diagnosis.checkpoint
    sections = diagnosis_sections(diagnosis)
    content = render_page("diagnosis.html", name=name, sections=sections)
    with writing_to(folder, "The page of the diagnosis"):
        write_atomically(page, content)
    if console is not None:
        for section in sections:
            console.print(section.title, style="bold", markup=False)
            for finding in section.findings:
                console.print(f"- {finding.chart.title}: {finding.sentence}", markup=False)
    return page


def _facts(diagnosis: Diagnosis, stage: Stage) -> list[str]:
    facts = [
        f"loss {diagnosis.loss}",
        f"{diagnosis.classifier} classifier",
        count_of(len(diagnosis.classes), "class"),
        f"{count_of(stage.training_rois, 'training RoI')} ({stage.foreground_rois} foreground) of "
        f"{diagnosis.measured_images} of {', '.join(diagnosis.training)}",
    ]
    if stage.deviation is not None and diagnosis.test is not None:
        facts.append(
            f"{count_of(sum(stage.deviation.test_rois), 'test RoI')} of "
            f"{count_of(diagnosis.test_images or 0, 'image')} of {diagnosis.test}"
        )
    return facts
