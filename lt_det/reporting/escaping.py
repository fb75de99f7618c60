"""Names of the user's data in Markdown and csv files, where parts of them could be taken for markup or formulas."""

from __future__ import annotations

import re
from typing import Any

from lt_det.terminal import printable

# An underscore within a word, which most class names have, stays an underscore in Markdown.
_MARKUP = re.compile(r"[\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_])")
_BLOCK = re.compile(r"^(\s*\d*)([#+=>.)-])")  # what makes a line a heading, a list, a quotation or a rule
_FORMULA = re.compile("^[=+\\-@\t\r\uff1d\uff0b\uff0d\uff20']")


def in_markdown(text: str) -> str:
    """Text that Markdown shows as it is, in one line: escaped, and control characters as ``\\x1b`` and the like."""
    text = printable(" ".join(text.split("\n")))
    return _MARKUP.sub(r"\\\g<0>", text).replace("&", "&amp;").replace("<", "&lt;")


def markdown_heading(level: int, text: str) -> str:
    """A heading; its text is escaped."""
    return f"{'#' * level} {in_markdown(text)}"


def markdown_paragraph(text: str) -> str:
    """A paragraph of one line; its text is escaped."""
    return _BLOCK.sub(r"\1\\\2", in_markdown(text))


def in_spreadsheet(value: Any) -> Any:
    """The value of a csv cell. A text that a spreadsheet would run as a formula gets an apostrophe in front.

    So does a text that begins with an apostrophe: whoever reads the file gets every text back by removing one leading
    apostrophe. Numbers stay numbers.
    """
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value
