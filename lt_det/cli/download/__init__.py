"""`lt-det download`: LVIS, COCO, and the weights that configs start from."""

from __future__ import annotations

import argparse

from lt_det.cli.download import datasets, weights


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "download",
        help="download LVIS, COCO or pretrained weights to where Detectron2 looks for them",
        description="Download to where Detectron2 looks for files. After an interruption, the same command continues; "
        "it skips files that exist.",
    )
    kinds = parser.add_subparsers(required=True, metavar="WHAT")
    datasets.add_parsers(kinds)
    weights.add_parser(kinds)
