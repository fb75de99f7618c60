"""Tables, figures and the report of a training run. Needs no torch."""

from lt_det.reporting.report import write_report

__all__ = ["write_report"]
