"""Pages that are one file: style, script, drawings and pictures are inside, and nothing is fetched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined

if TYPE_CHECKING:
    from lt_det.reporting.compare import Comparison
    from lt_det.reporting.sections import Section


def report_page(name: str, sections: Sequence[Section]) -> str:
    """The page of a run: `name` heads it; one section per task and set."""
    return _render("report.html", name=name, sections=sections)


def comparison_page(runs: Sequence[str], comparisons: Sequence[Comparison]) -> str:
    """The page of several runs against the first."""
    return _render("compare.html", runs=runs, comparisons=comparisons)


def _render(template: str, **content: object) -> str:
    # Every name is escaped unless a template says that it is markup, which only drawings are.
    environment = Environment(
        loader=PackageLoader("lt_det.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**content)
