"""The page and the tables of a bake-off: what ``bakeoff.json`` says, for people."""

from lt_det.reporting.bakeoff.page import PAGE_NAME, write_bakeoff_page
from lt_det.reporting.bakeoff.results import results_table

__all__ = ["PAGE_NAME", "results_table", "write_bakeoff_page"]
