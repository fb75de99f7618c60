"""A chart's figure as inline SVG of a page, and as a file."""

from __future__ import annotations

import re
import zlib
from html import escape
from pathlib import Path

from markupsafe import Markup

from lt_det.reporting.bucket_style import LIGHT
from lt_det.reporting.charts.base import Panel, save_bitmap
from lt_det.terminal import printable

_DPI = 110  # of bitmaps
_TAG = re.compile(r"<[^>]*>")  # text has no angle brackets: matplotlib escapes them
_REFERENCE = r'(?:url\(|xlink:href=")#'
_VARIABLES = {color: f"var(--{name})" for name, color in LIGHT.items()}


def inline_svg(panel: Panel, page_key: str) -> Markup:
    """The figure with the colors of the page, so that one drawing serves light, dark and print.

    CSS variables replace the light colors that matplotlib writes, and text takes the font of the page.

    Args:
        page_key: with the panel's name, an id that is unique on the page.
    """
    chart_id = f"{page_key}-{panel.name}"
    drawing = panel.svg[panel.svg.index("<svg") :]
    view_box = re.search(r'viewBox="[^"]*"', drawing)
    assert view_box is not None
    drawing = drawing[drawing.index(">") + 1 :]
    drawing = re.sub(r"<!--.*?-->|<style.*?</style>|<defs>\s*</defs>", "", drawing, flags=re.DOTALL)
    drawing = re.sub(r">\s+<", "><", drawing)
    prefix = f"c{zlib.crc32(chart_id.encode(errors='backslashreplace')):08x}-"
    used = {target for tag in _TAG.findall(drawing) for target in re.findall(rf"{_REFERENCE}([^)\"]+)", tag)}
    drawing = _TAG.sub(lambda found: _on_page(found[0], panel, prefix, used), drawing)
    interactive = bool(panel.point_labels)
    return Markup(
        f'<svg class="chart{" scatter" * interactive}" id="{escape(chart_id)}" {view_box[0]} '
        f'role="{"group" if interactive else "img"}" aria-label="{escape(printable(panel.alt))}">{drawing.strip()}'
    )


def write_figure(panel: Panel, file: Path) -> None:
    """In the light colors, as SVG or a bitmap, whichever the suffix says."""
    if file.suffix == ".svg":
        file.write_text(panel.svg, encoding="utf-8")
    else:
        save_bitmap(panel.figure, file, _DPI)


def _on_page(tag: str, panel: Panel, prefix: str, used: set[str]) -> str:
    """A tag of the SVG as the page has it: its ids are unique there, or gone if nothing refers to them."""
    point = re.match(r'<a xlink:href="point-(\d+)"', tag)
    if point:
        return _point(panel, int(point[1]))
    if tag == "</a>":
        return "</g>"
    tag = re.sub(r' id="([^"]*)"', lambda found: f' id="{prefix}{found[1]}"' if found[1] in used else "", tag)
    tag = re.sub(_REFERENCE, lambda found: f"{found[0]}{prefix}", tag)
    return re.sub(r'(?:style|fill|stroke)="[^"]*"', lambda found: _in_page_style(found[0]), tag)


def _in_page_style(style: str) -> str:
    style = re.sub(r"font-family: [^;\"]*;? ?", "", style)
    return re.sub(r"#[0-9a-f]{6}", lambda found: _VARIABLES.get(found[0], found[0]), style)


def _point(panel: Panel, index: int) -> str:
    return f'<g class="point" role="img" aria-label="{escape(printable(panel.point_labels[index]))}">'
