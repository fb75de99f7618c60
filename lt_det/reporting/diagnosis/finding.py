"""A chart of a diagnosis with what it says about this detector."""

from __future__ import annotations

from dataclasses import dataclass

from lt_det.reporting.charts.base import Chart
from lt_det.reporting.tables import TextTable


@dataclass(frozen=True)
class Finding:
    """
    Attributes:
        sentence: what the chart means for this detector, computed from its numbers.
        table: shown below the chart.
    """

    chart: Chart
    sentence: str
    table: TextTable | None = None


UNKNOWN = "There are too few classes with RoIs to compare rare and frequent ones."
EACH_POINT = "Each point is a class; hover over it for its name. A line is the median of a bucket."
