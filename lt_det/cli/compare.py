"""`lt-det compare`."""

from __future__ import annotations

import argparse
from pathlib import Path

from lt_det.cli.console import console


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("compare", help="compare runs, with paired intervals of the differences")
    parser.add_argument(
        "output_dirs",
        type=Path,
        nargs="+",
        metavar="RUN",
        help="OUTPUT_DIR of a training, or --out of lt-det evaluate; all others are compared with the first",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("compare"), metavar="DIR", help="output folder (default: ./compare)"
    )
    parser.add_argument(
        "--outside-images",
        action="store_true",
        help="also embed example images whose file_name leads outside the image folder, by '..' or an absolute path",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from lt_det.reporting import write_comparison

    page = write_comparison(args.output_dirs, args.out, console, args.outside_images)
    console.print(f"Comparison: {page}", soft_wrap=True, markup=False)
    return 0
