"""`lt-det zoo check`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from lt_det.cli.console import console
from lt_det.terminal import count_of

if TYPE_CHECKING:
    from lt_det.reporting.tables import TextTable
    from lt_det.zoo.checking import CheckedRun


def add_parser(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    parser = actions.add_parser(
        "check",
        help="check a run, finished or not, against the gates of its config; exit code 1 if one fails",
        description="Check losses, learning rate, foreground and AP of a run at its first line, and after 1 %, 10 % "
        "and 100 % of its schedule. Exit code 1 if a gate fails.",
    )
    parser.set_defaults(run=run)
    return parser


def run(args: argparse.Namespace) -> int:
    from lt_det.zoo.checking import check_run

    checked = check_run(args.folder, args.config)
    console.print(verdict_table(checked).to_rich())
    lines = [f"FAIL: {gate.metric} should be {gate.bounds} ({gate.why})" for gate in checked.failed]
    if checked.overrides:
        keys = ", ".join(checked.overrides)
        lines.append(f"The run differs from {checked.config} in {keys}, so its AP is not compared with known ones.")
    found: list[str] = [verdict.status for verdict in checked.verdicts]
    counts = ", ".join(f"{found.count(status)} {name}" for status, name in _COUNTED)
    for line in [*lines, f"{count_of(len(found), 'gate')}: {counts}"]:
        console.print(line, soft_wrap=True, markup=False)
    return int(bool(checked.failed))


_COUNTED = (("pass", "passed"), ("FAIL", "failed"), ("not reached", "not reached"))


def verdict_table(checked: CheckedRun) -> TextTable:
    """The gates of a run, and its values there."""
    from lt_det.reporting.tables import TextTable

    rows = []
    for verdict in checked.verdicts:
        gate = verdict.gate
        found = "" if verdict.value is None else f"{verdict.value:.4g}"
        at = f"{100 * gate.at:g} %" if gate.at else "first line"
        rows.append([at, gate.metric, gate.bounds, found, verdict.status, gate.kind])
    title = f"{checked.config}: {checked.iterations} of {count_of(checked.planned, 'iteration')}"
    return TextTable(title, ["at", "metric", "expected", "found", "verdict", "source"], rows)
