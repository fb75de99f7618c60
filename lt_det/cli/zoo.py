"""`lt-det zoo`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lt_det.cli.console import console
from lt_det.terminal import count_of

if TYPE_CHECKING:
    from lt_det.reporting.tables import TextTable
    from lt_det.zoo.checking import CheckedRun


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "zoo",
        help="check a run of a shipped config, and add it to the zoo",
        description="Compare a training of a shipped config with what it should show, and add it to the numbers of "
        "docs/zoo.md. Run it in the root of a clone.",
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    check = actions.add_parser(
        "check",
        help="check a run, finished or not, against the gates of its config; exit code 1 if one fails",
        description="Check losses, learning rate, foreground and AP of a run after its first lines, 1 %, 10 % and "
        "100 % of its schedule. Exit code 1 if a gate fails.",
    )
    check.set_defaults(run=run_check)
    add = actions.add_parser(
        "add",
        help="add a finished run to the row of its config, for a pull request",
        description="Write metrics, seed, commit, hardware and versions of a finished run to zoo/rows/CONFIG.json. A "
        "run with another seed is added to the same file.",
    )
    add.add_argument("--out", type=Path, metavar="DIR", help="folder of the row's file (default zoo/rows)")
    add.add_argument(
        "--allow-overrides", action="store_true", help="record the keys in which the run differs from its config"
    )
    add.add_argument("--commit", help="commit of lt_det that trained, where log.txt does not say it")
    add.add_argument("--hardware", help="such as '8 x NVIDIA A100', where log.txt does not say it")
    add.set_defaults(run=run_add)
    for action in (check, add):
        action.add_argument("folder", metavar="RUN", help="OUTPUT_DIR of a training")
        action.add_argument("--config", metavar="FILE", help="its shipped config (default: the one in its log.txt)")


def run_check(args: argparse.Namespace) -> int:
    from lt_det.zoo.checking import check_run

    checked = check_run(args.folder, args.config)
    console.print(verdict_table(checked).to_rich())
    if checked.overrides:
        console.print(
            f"The run differs from {checked.config} in {', '.join(checked.overrides)}, so no AP is known for it.",
            soft_wrap=True,
            markup=False,
        )
    for verdict in checked.verdicts:
        if verdict.status == "FAIL":
            gate = verdict.gate
            console.print(f"FAIL: {gate.metric} should be {gate.bounds} ({gate.why})", soft_wrap=True, markup=False)
    found = [verdict.status for verdict in checked.verdicts]
    console.print(
        f"{count_of(len(found), 'gate')}: {found.count('pass')} passed, {found.count('FAIL')} failed, "
        f"{found.count('not reached')} not reached",
        soft_wrap=True,
        markup=False,
    )
    return int(checked.has_failed)


def run_add(args: argparse.Namespace) -> int:
    from lt_det.zoo.adding import add_run

    file, row = add_run(
        args.folder,
        args.out,
        config=args.config,
        allow_overrides=args.allow_overrides,
        commit=args.commit,
        hardware=args.hardware,
    )
    unknown = [name for name in ("commit", "hardware") if getattr(row.runs[-1], name) is None]
    console.print(f"Written: {file}, {count_of(len(row.runs), 'run')}", soft_wrap=True, markup=False)
    for name in unknown:
        console.print(f"The log does not say its {name}; write it into the row.", soft_wrap=True, markup=False)
    return 0


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
    return TextTable(title, ["at", "metric", "expected", "found", "verdict", "gate"], rows)
