"""One line of the doctor's report."""

from __future__ import annotations

from typing import NamedTuple


class Finding(NamedTuple):
    """One line of the doctor's report."""

    subject: str
    found: str
    advice: str = ""  # what to do; empty: nothing is wrong
    fatal: bool = False  # whether a training would fail
