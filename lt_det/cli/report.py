"""`lt-det report`."""

from __future__ import annotations

import argparse
from pathlib import Path

from lt_det.cli.console import console


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("report", help="write the results of a training as tables and charts")
    parser.add_argument("output_dir", type=Path, help="OUTPUT_DIR of a training, or --out of lt-det evaluate")
    parser.add_argument(
        "--outside-images",
        action="store_true",
        help="also embed example images whose file_name leads outside the image folder, by '..' or an absolute path",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from lt_det.reporting import write_report

    page = write_report(args.output_dir, console, args.outside_images).with_suffix(".html")
    console.print(f"Report: {page}", soft_wrap=True, markup=False)
    return 0
