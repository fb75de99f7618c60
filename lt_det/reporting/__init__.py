"""Tables, charts and pages of one run, and comparisons of several. Works without torch."""

from lt_det.reporting.comparison.compare import write_comparison
from lt_det.reporting.report import write_report

__all__ = ["write_comparison", "write_report"]
