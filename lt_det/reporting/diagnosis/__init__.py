"""What the papers of the losses plot, for one detector: a page of charts, each with what it means for this detector."""

from lt_det.reporting.diagnosis.page import diagnosis_sections, write_diagnosis_page

__all__ = ["diagnosis_sections", "write_diagnosis_page"]
