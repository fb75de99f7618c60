"""Tables, figures and pages of a training run, and of several beside each other. Needs no torch."""

from lt_det.reporting.compare import write_comparison
from lt_det.reporting.report import write_report

__all__ = ["write_comparison", "write_report"]
