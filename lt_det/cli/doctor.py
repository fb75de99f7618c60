"""`lt-det doctor`."""

from __future__ import annotations

import argparse

from rich.markup import escape

from lt_det.cli.console import console
from lt_det.errors import LtDetError
from lt_det.io.plain_values.yaml_files import UNSAFE_HELP, UNSAFE_OPTION


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "doctor",
        help="check the installation, and a config with its data, before you train",
        description="Check the installation: versions, devices, datasets. With --config, also try what training will "
        "do: open the weights, read images and train two iterations. The exit code is 1 if training would fail.",
    )
    parser.add_argument("--config", metavar="FILE", help="yaml config, or the name of a shipped one, such as lvis_eql")
    parser.add_argument(UNSAFE_OPTION, action="store_true", help=UNSAFE_HELP)
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="overrides of the config")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from lt_det.doctor import examine

    if args.opts and not args.config:
        raise LtDetError(f"Overrides ({args.opts[0]}) need a config; add --config FILE before them.")
    fatal = False
    for finding in examine(args.config, args.opts, args.allow_unsafe_config):
        fatal = fatal or finding.fatal
        mark, color = ("✗", "red") if finding.fatal else ("!", "yellow") if finding.advice else ("✓", "green")
        console.print(f"[{color}]{mark}[/] {escape(f'{finding.subject:13}')} {escape(finding.found)}", soft_wrap=True)
        if finding.advice:
            console.print(f"  {'':14}-> {escape(finding.advice)}", soft_wrap=True)
    return int(fatal)
