"""`lt-det zoo add`."""

from __future__ import annotations

import argparse
from pathlib import Path

from lt_det.cli.console import console
from lt_det.terminal import count_of


def add_parser(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    parser = actions.add_parser(
        "add",
        help="add a finished run to the row of its config, for a pull request",
        description="Write metrics, seed, commit, hardware and versions of a finished run to zoo/rows/CONFIG.json. A "
        "run with another seed is added to the same file.",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the row's file (default zoo/rows)")
    parser.add_argument(
        "--allow-overrides", action="store_true", help="record the keys in which the run differs from its config"
    )
    parser.add_argument("--commit", help="commit of lt_det that trained it, if log.txt does not have it")
    parser.add_argument("--hardware", help="such as '8 x NVIDIA A100', if log.txt does not have it")
    parser.set_defaults(run=run)
    return parser


def run(args: argparse.Namespace) -> int:
    from lt_det.zoo.adding import add_run

    file, row = add_run(
        args.folder,
        args.out,
        config=args.config,
        allow_overrides=args.allow_overrides,
        commit=args.commit,
        hardware=args.hardware,
    )
    console.print(f"Written: {file}, {count_of(len(row.runs), 'run')}", soft_wrap=True, markup=False)
    for name in ("commit", "hardware"):
        if getattr(row.runs[-1], name) is None:
            console.print(f"log.txt does not have its {name}; add it to the row by hand.", soft_wrap=True, markup=False)
    return 0
