"""Self-contained pages: style, script, charts and images are inline, and nothing is fetched."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from lt_det.reporting.bucket_style import DARK, LIGHT
from lt_det.reporting.charts.render import inline_svg
from lt_det.terminal import count_of, printable


def render_page(template: str, **content: object) -> str:
    """A page from one of `templates/`: ``report.html``, ``compare.html`` or ``bakeoff.html``."""
    # Every text is escaped; only `inline_svg` returns markup.
    environment = Environment(
        loader=PackageLoader("lt_det.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.globals |= {"inline_svg": inline_svg, "count_of": count_of, "light": LIGHT, "dark": DARK}
    return environment.get_template(template).render(**content)


def _shown(value: object) -> object:
    """Control characters and lone surrogates, which HTML does not have, are escaped; the markup of a page has none."""
    return printable(value, keep="\n\t") if isinstance(value, str) and not isinstance(value, Markup) else value
