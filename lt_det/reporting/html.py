"""Pages that are one file: style, script, charts and images are inside, and nothing is fetched."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined


def render_page(template: str, **content: object) -> str:
    """A page from one of `templates/`: ``report.html`` or ``compare.html``."""
    # Every name is escaped unless a template says that it is markup, which only charts are.
    environment = Environment(
        loader=PackageLoader("lt_det.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**content)
