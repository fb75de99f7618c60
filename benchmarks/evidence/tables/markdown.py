"""Lines of a Markdown table."""

from __future__ import annotations

from collections.abc import Sequence


def header(first: str, titles: Sequence[str]) -> list[str]:
    """Titles, with a first column of text and further ones of numbers."""
    return [line(first, titles), "|---|" + "---:|" * len(titles)]


def line(first: str, cells: Sequence[str]) -> str:
    return f"| {first} | {' | '.join(cells)} |"
