"""One line of the doctor's report."""

from __future__ import annotations

from typing import NamedTuple


class Finding(NamedTuple):
    """One line of the doctor's report."""

    subject: str
    found: str
    advice: str = ""  # what to do; empty: all is well
    fatal: bool = False  # training cannot work
