"""`lt-det compare`."""

from __future__ import annotations

import argparse
from pathlib import Path

from lt_det.cli.console import console


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("compare", help="differences between runs, with paired intervals")
    parser.add_argument(
        "output_dirs",
        type=Path,
        nargs="+",
        metavar="RUN",
        help="OUTPUT_DIR of each training; all others are compared with the first",
    )
    parser.add_argument("--out", type=Path, default=Path("compare"), metavar="DIR", help="default: ./compare")
    parser.add_argument(
        "--outside-images",
        action="store_true",
        help="also embed example images whose file_name leads out of the image folder, by '..' or as an absolute path",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from lt_det.reporting import write_comparison

    page = write_comparison(args.output_dirs, args.out, console, args.outside_images)
    console.print(f"Comparison: {page}", soft_wrap=True, markup=False)
    return 0
