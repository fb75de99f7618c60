"""The charts of a report. To add one, write a function in a module of its own here, and name it in `REPORT_CHARTS`.

Such a function takes an `Evaluation` and one of its tasks ("bbox" or "segm"). It returns a `Chart`,
whose figures are matplotlib's, or None where the file lacks what the chart shows. Page, files and Markdown follow.
"""

from __future__ import annotations

from collections.abc import Callable

from lt_det.evaluation.protocols import Task
from lt_det.evaluation.schema import Evaluation
from lt_det.reporting.charts.base import Chart, chart_style
from lt_det.reporting.charts.bucket_ap import bucket_ap
from lt_det.reporting.charts.class_scatter import class_ap_scatter
from lt_det.reporting.charts.error_types import error_types
from lt_det.reporting.charts.precision_recall import precision_recall
from lt_det.reporting.charts.score_calibration import score_calibration

REPORT_CHARTS: tuple[Callable[[Evaluation, Task], Chart | None], ...] = (
    bucket_ap,
    class_ap_scatter,
    error_types,
    precision_recall,
    score_calibration,
)


def report_charts(evaluation: Evaluation, task: Task) -> list[Chart]:
    """The charts of one task, in the order of the page, without those that the evaluation has no data for."""
    with chart_style():
        return [chart for draw in REPORT_CHARTS if (chart := draw(evaluation, task)) is not None]
