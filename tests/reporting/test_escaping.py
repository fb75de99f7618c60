"""Names of the user's data in every output of a report: nothing in them is markup, a formula or an escape sequence."""

import csv
import io
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from msgspec.structs import force_setattr
from rich.console import Console

from lt_det.reporting import write_comparison, write_report
from lt_det.reporting.bakeoff import write_bakeoff_page
from lt_det.reporting.charts.base import Panel, chart_style, new_axes, shorten
from lt_det.reporting.charts.render import inline_svg
from lt_det.reporting.diagnosis import write_diagnosis_page
from lt_det.reporting.escaping import in_markdown, in_spreadsheet, markdown_heading, markdown_paragraph
from lt_det.reporting.summary import per_class_csv
from tests.helpers.bakeoffs import bakeoff
from tests.helpers.diagnosed import diagnosis
from tests.helpers.evaluations import evaluation, typed, write_run

HOSTILE = (
    "$\\frac{$",
    "a\\b_c^d",
    "\x1b]0;title\x07\x1b[31mred",
    "=cmd|' /C calc'!A0",
    "[x](javascript:alert(1))|`b`",
    '"><script>alert(1)</script>',
    'a id="x" style="#d55e00" --> <!-- ',
    "日本語😀\u202e",
    ":car: [red]x[/red] {braces} %s",
    "two\nlines\ttab",
)


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@a", "\ta", "\ra", "'a", "''=1", "=cmd|' /C calc'!A0", "＝1"])
def test_a_text_that_would_run_is_quoted_and_can_be_read_back(text):
    assert in_spreadsheet(text) == f"'{text}"


@pytest.mark.parametrize("value", ["cup", "a=1", " =1", "", 1, -1.5, None])
def test_other_cells_stay(value):
    assert in_spreadsheet(value) is value


def test_per_class_csv_gives_every_name_back():
    content = evaluation()
    names = [*HOSTILE, "-1", "@SUM(1)", "'quoted", "''", "\tx"]
    for entry, name in zip(content["classes"], names, strict=False):
        entry["name"] = name
    rows = list(csv.DictReader(io.StringIO(per_class_csv([typed(content)]), newline="")))
    assert not any(row["class"].startswith(("=", "+", "-", "@", "\t", "\r")) for row in rows)
    assert [row["class"].removeprefix("'") if row["class"][:1] == "'" else row["class"] for row in rows] == [
        entry["name"] for entry in content["classes"]
    ]


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("[x](y)", r"\[x\](y)"),
        ("a|b`c`*d*~e~$f$", r"a\|b\`c\`\*d\*\~e\~\$f\$"),
        ("<b>&amp;", "&lt;b>&amp;amp;"),
        ("aerosol_can _x_", r"aerosol_can \_x\_"),
        ("a\\|b", r"a\\\|b"),
        ("two\nlines\x1b", r"two lines\\x1b"),
    ],
)
def test_markdown(text, escaped):
    if "\x1b" in text:
        escaped = "two lines\\\\x1b"
    assert in_markdown(text) == escaped


def test_markdown_blocks():
    assert markdown_heading(2, "a\n# b") == "## a # b"
    assert markdown_paragraph("# no heading") == r"\# no heading"
    assert markdown_paragraph("1. no list") == r"1\. no list"


class Tags(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes = [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [key for key, _ in attributes]


def assert_page_is_safe(page, plain):
    """It has the same tags and attributes as the page of the same content with plain names."""
    text, expected = page.read_text(), Tags(plain.read_text())
    found = Tags(text)
    assert found.tags.count("script") == 1
    assert set(found.attributes) == set(expected.attributes)
    assert set(found.tags) == set(expected.tags)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202e\ud800-\udfff]", text)


def hostile_run(root, seed=0):
    """Class names, buckets, types of errors and the name of the set, all hostile."""
    content = evaluation(seed=seed)
    for k, entry in enumerate(content["classes"]):
        entry["name"] = f"{HOSTILE[k % len(HOSTILE)]}{k}"
    return write_run(root, content)


@pytest.fixture
def plain_run(tmp_path):
    return write_run(tmp_path / "plain", evaluation())


def test_report_and_comparison(tmp_path, plain_run):
    runs = [hostile_run(tmp_path / f"{name}<b>|`$x^{{$", seed) for seed, name in enumerate("ab")]
    stream = io.StringIO()
    console = Console(file=stream, width=200)
    report = write_report(runs[0], console)
    write_report(plain_run, Console(quiet=True))
    assert_page_is_safe(report.with_suffix(".html"), plain_run / "report" / "report.html")
    for file in report.parent.glob("*.svg"):
        ElementTree.parse(file)
    compared = write_comparison(runs, tmp_path / "compared", console)
    other = write_run(tmp_path / "other", evaluation(seed=1))
    expected = write_comparison([plain_run, other], tmp_path / "expected", Console(quiet=True))
    assert_page_is_safe(compared, expected)
    assert not set(stream.getvalue()) & {"\x1b", "\x07", "\u202e"}
    assert (
        compared.with_suffix(".md").read_text().splitlines()[0]
        == "# b&lt;b>\\|\\`\\$x^{\\$ against a&lt;b>\\|\\`\\$x^{\\$"
    )
    for text in (report.read_text(), compared.with_suffix(".md").read_text()):
        assert "<script" not in text
        assert not re.search(r"(?<!\\)\[x(?<!\\)\]", text)
        assert not set(text) & {"\x1b", "\x07", "\u202e"}


def test_bakeoff_and_diagnosis(tmp_path):
    pages = {}
    for kind in ("plain", "hostile"):
        found, measured = bakeoff(draws=20), diagnosis()
        if kind == "hostile":
            for content in (found, measured):
                for k, entry in enumerate(content.classes):
                    force_setattr(entry, "name", f"{HOSTILE[k % len(HOSTILE)]}{k}")
            force_setattr(found, "dataset", HOSTILE[5])
        pages[kind] = [
            write_bakeoff_page(found, tmp_path / kind / "bakeoff"),
            write_diagnosis_page(measured, tmp_path / kind / "diagnosis"),
        ]
    for page, plain in zip(pages["hostile"], pages["plain"], strict=True):
        assert_page_is_safe(page, plain)


@pytest.mark.parametrize("text", [*HOSTILE, "\ud800", "\x00", "_x", "$", "\\$1"])
def test_text_of_a_chart_is_drawn_as_it_is(tmp_path, text):
    with chart_style():
        figure, axes = new_axes(300, 100, [(text, axes_handle())])
        axes.set(xlabel=text, title=text)
        axes.set_yticks([0], [shorten(text, 99)])
        axes.annotate(text, (0, 0))
        panel = Panel("chart", text, figure)
    root = ElementTree.fromstring(panel.svg)
    words = {"".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text")}
    inline = inline_svg(panel, "key")
    assert Tags(inline).tags.count("svg") == 1
    if text.isprintable():
        assert text in words
        assert text in {"".join(node.itertext()) for node in ElementTree.fromstring(inline).iter("text")}


def axes_handle():
    from matplotlib.lines import Line2D

    return Line2D([], [])
