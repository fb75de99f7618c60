"""`lt-det strip-weights`."""

from __future__ import annotations

import argparse

from lt_det.cli.console import console
from lt_det.terminal import count_of


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("strip-weights", help="copy only the weights of a checkpoint to a new file")
    parser.add_argument("source", metavar="IN", help="a checkpoint: .pth, .pkl or .pyth")
    parser.add_argument("target", metavar="OUT", help="file to write, .pth")
    parser.add_argument(
        "--allow-unsafe-weights",
        action="store_true",
        help="execute any code in IN; use it only for files that you trust like a program",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from lt_det.training.weights.stripping import strip_weights

    number = strip_weights(args.source, args.target, args.allow_unsafe_weights)
    console.print(f"Written: {args.target}, {count_of(number, 'weight')}", soft_wrap=True, markup=False)
    return 0
