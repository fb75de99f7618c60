"""`lt-det zoo`: one module per action."""

from __future__ import annotations

import argparse

from lt_det.cli.zoo import add, check


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "zoo",
        help="check a run of a shipped config against known values, and add it to the zoo",
        description="Check a training of a shipped config for plausible values, and add its results to "
        "docs/zoo.md. Run it in the root of a clone.",
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    for action in (check, add):
        parser = action.add_parser(actions)
        parser.add_argument("folder", metavar="RUN", help="OUTPUT_DIR of a training")
        parser.add_argument(
            "--config",
            metavar="CONFIG",
            help="path or name of its shipped config (default: the one in its log.txt)",
        )
